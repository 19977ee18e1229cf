"""For tests, of applications and of the engine itself.

A clock that is set by hand, workers that are stepped by hand, and one call that activates a single slot:

    clock, executor = FakeClock(), ManualExecutor()
    flow = Flow(clock=clock, executor=executor)
    ...
    job_state = flow.execute("source")   # the entry handler runs; its tasks wait
    executor.step()                      # one activation
    clock.advance(1.0)                   # a retry is due
    executor.run_until_idle()
"""

from routilux.testing.activate import Activation, activate
from routilux.testing.clock import FakeClock
from routilux.testing.executor import ManualExecutor

__all__ = ["Activation", "FakeClock", "ManualExecutor", "activate"]
