"""Run: the live side of one JobState. It owns everything that changes while the run goes on.

With `activation.py`, this is the hot path: an emission makes tasks (`emit`), a worker takes them (`take`), and what
their handlers did is settled (`settle`). How a run begins, stops and ends stands in `lifecycle.py`.
"""

from collections import Counter
from collections.abc import Callable
from time import sleep
from typing import TYPE_CHECKING, Any

from routilux.context import current_effects
from routilux.errors import AttemptTimeoutError, RunEndedError
from routilux.event import mapped
from routilux.execution_tracker import Sums
from routilux.flow.activation import drain
from routilux.flow.error_policy import Decision
from routilux.flow.failure import TRACEBACKS_MAX, error_text, settle_failed_attempt
from routilux.flow.gate import Gate
from routilux.flow.lifecycle import NORMAL, OPEN
from routilux.flow.no_journal import NO_JOURNAL
from routilux.flow.run_inputs import RunInputs
from routilux.flow.task import Activation, Held, HeldCall, HeldEmission, HeldOutput, HeldRequest
from routilux.flow.timers import nanoseconds
from routilux.flow.wiring import Node, Port, Wired
from routilux.flow.workers import Turn
from routilux.interfaces import Settlement
from routilux.ledger import RecordKey, stand_back
from routilux.pending_data import same_payload
from routilux.priority import TaskPriority

if TYPE_CHECKING:  # the engine makes runs
    from routilux.slot import Slot

__all__ = ["Run"]


class Run(RunInputs):
    """The hot path of a run; see `RunLifecycle` for its lock and its attributes."""

    __slots__ = ()

    drain = drain  # a worker's turn with this run

    is_durable = False  # whether it outlives its process

    # -- emitting

    def emit(
        self,
        activation: Activation,
        routine: Any,
        event_name: str,
        data: dict[str, Any],
        delay: float = 0.0,
        priority: TaskPriority = TaskPriority.NORMAL,
    ) -> None:
        """Release an emission of an activation, or hold it back until the activation succeeds.

        Raises:
            UnknownNameError: The routine has no such event.
            RunEndedError: The run has ended.
            LateAttemptError: The attempt was given up.
        """
        node = activation.port.node
        if node.routine is not routine:
            node = self.engine.wiring.node_of(routine)
        wired = node.wired.get(event_name)
        if wired is None or wired.version != wired.event.version:
            wired = self.engine.wiring.wire(node, event_name)
        special = activation.special
        differs = (
            special is not None
            and special.replay is not None
            and special.effects is None  # else it is compared when it is released
            and self._differs(activation, wired, data)
        )
        lock = self.lock
        if not lock.acquire(False):
            stand_back(lock)
        try:
            special = activation.special  # again, with the lock held: the attempt may just have been given up
            if special is not None:
                if special.late is not None:
                    raise self.late_error(activation, f"emit {event_name!r}")
                effects = special.effects
                if effects is not None:
                    if current_effects.get() is effects:  # else a failed attempt's, which leaves nothing
                        effects.append(self.held(HeldEmission(wired, data, delay, priority)))
                    return
            given = self._release(activation, wired, data, delay, priority, differs)
        finally:
            lock.release()
        if given:
            self.hand_out(given)

    def keep_from_outside(self) -> None:
        """Without the lock: something was emitted that no activation emits; for runs that outlive their process."""

    def held(self, emission: HeldEmission) -> HeldEmission:
        """What is kept of an emission until its attempt has succeeded."""
        return emission

    def _release(
        self,
        activation: Activation,
        wired: Wired,
        data: dict[str, Any],
        delay: float,
        priority: TaskPriority,
        differs: bool = False,
    ) -> int:
        """With the lock held: record an emission and queue its deliveries; returns the tokens to hand out."""
        if self._gate != OPEN and self._takes_nothing():
            self._refuse(wired, data)
            return 0
        now = self.now()
        name = wired.name if wired.node is activation.port.node else wired.long_name
        nth = 0
        if activation.emitted is None:
            activation.emitted = (name, data)  # most emit once; as `release` does, without a call
        else:
            nth = activation.release(name, data)
        special = activation.special
        if special is not None and self._is_replayed(activation, name, nth):
            if differs:
                self._note_difference(wired, data, now)
            return 0
        ledger = self.ledger
        ledger.rows += (wired.record_key, now, data)
        if ledger.limit is not None:
            ledger.keep_bound()
        self.event_count += 1
        if self._waiters.watcher_count:
            self._waiters.notify()
        is_due = not delay and self._gate == OPEN
        queue: Any = self._normal if priority is NORMAL else self._queue(priority)
        if special is not None and special.staged is not None:
            queue = special.staged
        for delivery in wired.deliveries:
            mapping = delivery.mapping
            task = Activation(
                self,
                delivery.port,
                data.copy() if mapping is None else mapped(data, mapping),
                delivery.connection,
                priority,
                hash((activation.identity, delivery.salt, nth)),
                now,
            )
            if is_due:
                self.outstanding += 1
                queue.append(task)
            else:
                self._set_aside(task, now, delay)
        if not is_due or self.tokens >= self.token_limit or (special is not None and special.staged is not None):
            return 0
        return self.tokens_for(len(wired.deliveries))

    def _set_aside(self, task: Activation, now: int, delay: float) -> None:
        due_ns = now + nanoseconds(delay) if delay > 0 else None
        if self._gate == Gate.PARKING or due_ns is None:
            self.park(task, "queued", due_ns)
        else:
            self.outstanding += 1
            self.timers.add(task, due_ns)

    def _is_replayed(self, activation: Activation, name: str, nth: int) -> bool:
        """With the lock held: whether an activation that runs again emits what it had emitted before.

        Then the first data stand, in the record and for a further stop, and are not sent again.
        """
        before = (activation.replay or {}).get(name, ())
        if nth >= len(before):
            return False
        activation.rerelease(name, before[nth])
        return True

    def _differs(self, activation: Activation, wired: Wired, data: dict[str, Any], held_before: int = 0) -> bool:
        """Without the lock, since payloads may compare by code of the application: is this not what was emitted before?

        Args:
            activation: One that runs again.
            wired: The event.
            data: What it emits now.
            held_before: How many emissions of that event it holds back before this one.
        """
        name = wired.name_in(activation.port.node)
        before = (activation.replay or {}).get(name, ())
        nth = len(activation.released().get(name, ())) + held_before
        return nth < len(before) and not same_payload(before[nth], data)

    def _note_difference(self, wired: Wired, data: dict[str, Any], now: int) -> None:
        routine_id, event_name, *_ = wired.record_key
        self.ledger.write(RecordKey(routine_id, "replay_differs"), now, {"event": event_name, "data": data})

    def emit_deferred(self, wired: Wired, data: dict[str, Any], identity: int) -> int:
        """With the lock held: emit an event that was deferred to this resume; returns the tokens to hand out."""
        return self._release(self.engine.outsider(self, identity), wired, data, 0.0, TaskPriority.NORMAL)

    def _takes_nothing(self) -> bool:
        """With the lock held: whether it is stopped for good, or its state goes on in another run."""
        return self._gate >= Gate.REFUSING or self.ledger.live not in (None, self)

    def _refuse(self, wired: Wired, data: dict[str, Any]) -> None:
        routine_id, event_name, *_ = wired.record_key
        status = self.ledger.status
        if self._gate == Gate.ENDED and self.ledger.live in (None, self):
            raise RunEndedError(
                f"{routine_id!r} cannot emit {event_name!r}: run {self.job_id} has ended with status {status!r}. "
                "Emit from a handler while its run goes on, or start a new run with execute()."
            )
        refusal = {"event": event_name, "status": status, "data": data}
        self.ledger.write(RecordKey(routine_id, "refused"), self.now(), refusal)

    def hold_output(self, activation: Activation, output: HeldOutput) -> None:
        """Keep an output with the attempt, or send it if the attempt is over."""
        with self.lock:
            if activation.is_late:
                raise self.late_error(activation, f"send the output {output.output_type!r}")
            effects = activation.effects
            if effects is not None:
                if current_effects.get() is effects:  # as in `emit`
                    effects.append(output)
                return
        self.job_state.send_output(output.routine_id, output.output_type, output.data)

    def hold_call(self, activation: Activation, call: Callable[[], None]) -> bool:
        """Keep an emission that belongs to no run with the attempt; False where it is to be made at once."""
        with self.lock:
            effects = activation.effects
            if effects is None:
                return False
            if current_effects.get() is effects:  # as in `emit`
                effects.append(HeldCall(call))
            return True

    def defer(self, activation: Activation, event: tuple[str, str, dict[str, Any]]) -> None:
        """Keep a deferred event with the activation, or enter it if the activation is over."""
        with self.lock:
            if activation.is_late:
                raise self.late_error(activation, f"defer {event[1]!r}")
            if activation.effects is not None and current_effects.get() is not activation.effects:
                return  # as in `emit`
            if activation in self.active:
                activation.deferred = [*(activation.deferred or ()), event]
                return
        self.job_state.add_deferred_event(*event)

    # -- taking and settling

    def take(self) -> Activation | None:
        """The first task of a worker's turn."""
        with self.lock:
            if self._waiters.watcher_count:
                self._waiters.notify()  # of the record of its beginning, as a settlement does for the next one
            return self._take_first(self.now())

    def _take_first(self, now: int) -> Activation | None:
        """With the lock held: as `_take`, where no settlement comes before it.

        The clock of the timeout may stand still then: from a settlement that has left nothing but delays, until a delay
        is over, or something else has made work (an input, an emission from outside). It is looked at here, once a
        turn, and not in `_begin`: a settlement that takes a next task has found one queued, so that the clock runs.
        """
        task = self._take(now)
        if task is not None:
            self.timers.go_on(now)
        return task

    def _take(self, now: int) -> Activation | None:
        """With the lock held: the next task, which is then active; or None, and the worker's token is back.

        The queue is seen empty and the token taken back in one critical section, and an emission counts and looks at
        the tokens in one: so either this worker sees the task or the emission sees that a token is missing.
        """
        queue = self._urgent or self._normal or self._low
        if not queue:
            self.tokens -= 1
            return None
        task = queue.popleft()
        self._begin(task, now)
        return task

    def settle(self, task: Activation, turn: Turn | None) -> Activation | None:
        """Settle an activation that succeeded; returns the worker's next task, or None when its turn is over."""
        given = 0
        lock = self.lock
        if not lock.acquire(False):
            stand_back(lock)
        try:
            special = task.special
            if special is not None and special.effects is not None:
                given = self._release_held(task, special.effects)
            now = self.now()  # what it released stands in the record before its end
            duration_ns = now - task.started_ns or 1  # two readings of a coarse clock may be equal; no duration is 0
            node = task.port.node
            if special is not None and special.retry_count:
                self._record_retried(task, duration_ns, now)
            else:
                ledger = self.ledger
                ledger.rows += (node.completed_key, now, duration_ns)
                ledger.routine_states.completions[node.id] = duration_ns
            # As `Sums.add` does: a call would cost as much again as what it does.
            sums = self.tracked.get(node.id) or self._new_sums(node)
            sums.completed += 1
            sums.total_ns += duration_ns
            if duration_ns > sums.max_ns:  # noqa: PLR1730 - as would max()
                sums.max_ns = duration_ns
            if duration_ns < sums.min_ns or not sums.min_ns:
                sums.min_ns = duration_ns
            self.active.discard(task)
            self.outstanding -= 1
            if special is not None or self.journal is not None:
                self._note_left(task, "completed")
            following = self._after(now, turn)
            due = self._announce_due
            if due:
                self._announce_due = 0
        finally:
            lock.release()
        if given:
            self.hand_out(given)
        if due or (following is None and self.over):
            self._tell(due)
        return following

    def _tell(self, due: int) -> None:
        """Without the lock: announce an end that is due, and let those who wait for this run go first.

        They are awake, and need the interpreter lock. A worker that went on with another run would keep it until they
        insist, which they do after 5 ms (`sys.getswitchinterval`).
        """
        if due:
            self.announce(due)
        if self.over and self.workers.line and self._waiters.has_any():
            sleep(0)  # gives up the interpreter lock, and does not sleep

    def after_handover(self, turn: Turn | None) -> Activation | None:
        """A worker has handed a coroutine over: its next task, or None when its turn is over.

        The token of a sequential run goes along with the activation; see `handover.py`.
        """
        if self.is_sequential or turn is None:
            return None
        with self.lock:
            now = self.now()
            if self._waiters.watcher_count:
                self._waiters.notify()
            turn.left -= 1
            if (turn.left <= 0 or now >= turn.ends_ns) and turn.is_over(now) and self.queue_size():
                turn.again = True
                return None
            return self._take_first(now)

    def begins_on_loop(self) -> bool:
        """With the lock held: whether the next activation may begin on the loop's thread."""
        queue = self._urgent or self._normal or self._low
        if not queue or self.journal is not None or self.hooks is not None:
            return False
        port = queue[0].port  # as `begins_anywhere`: a call would cost as much again
        slot = port.slot
        return slot.is_purely_async and slot.replaces and port.node.has_plain_policy

    def hand_out(self, tokens: int) -> None:
        """Without the lock: give tokens that count as out to the loop's thread, or to the workers."""
        if not tokens:
            return
        handover = self.engine.handover
        if handover.has_loop and self._is_for_loop() and handover.give_tokens(self, tokens):
            return
        self.workers.hand_out(self, tokens)

    def _is_for_loop(self) -> bool:
        """Whether what was just queued is for the loop's thread. A guess: who gets the token looks with the lock.

        What was queued last is looked at too: a plain handler should not wait for the loop's thread to come to it.
        """
        try:
            queue: Any = self._urgent or self._normal or self._low
            return bool(queue) and queue[-1].port.begins_anywhere() and self.begins_on_loop()
        except IndexError:  # somebody has just taken the last one
            return False

    def take_on_loop(self, turn: Turn) -> Activation | None:
        """On the loop's thread: the first task of its turn; `turn.again` says that the token is for a worker."""
        with self.lock:
            if self._waiters.watcher_count:
                self._waiters.notify()
            if self.queue_size() and not self.begins_on_loop():
                turn.again = True
                return None
            return self._take_first(self.now())

    def note_returned(self, task: Activation, error: BaseException | None) -> None:
        """Without the lock: tell the hooks that a handler has returned or raised."""
        if self.hooks is not None:
            port = task.port
            self.engine.listeners.call(self.hooks.activation_ended, self.job_state, port.node.id, port.slot.name, error)

    def settle_failure(
        self, task: Activation, error: BaseException, decision: Decision, delay: float, turn: Turn | None
    ) -> Activation | None:
        """Settle an attempt that failed; returns what `settle` returns."""
        text = error_text(error, self.ledger.traceback_count < TRACEBACKS_MAX)
        with self.lock:
            now = self.now()
            if isinstance(error, AttemptTimeoutError) and error.seconds is not None:
                task = self.give_up_awaited(task, error.seconds)
            settle_failed_attempt(self, task, text, decision, delay, now)
            # A retry without a delay is queued again, and who has no token does not go on with it.
            given = self.tokens_for(1) if turn is None and self.queue_size() else 0
            following = self._after(now, turn)
            due = self._take_announcement()
        self.hand_out(given)
        if due or (following is None and self.over):
            self._tell(due)
        return following

    def _after(self, now: int, turn: Turn | None) -> Activation | None:
        """With the lock held: what follows a settlement, which is the end, the end of the turn, or the next task."""
        if self._waiters.watcher_count:
            self._waiters.notify()
        if self.timers.delayed_count:
            self.timers.stand_still(self.outstanding, now)
        if not self.outstanding or self._gate != OPEN:
            self._end_if_over()
        if turn is None:
            return None  # the entry: its thread is the caller's and holds no token
        turn.left -= 1
        if (turn.left <= 0 or now >= turn.ends_ns) and turn.is_over(now) and self.queue_size():
            turn.again = True
            return None
        return self._take(now)

    def _record_retried(self, task: Activation, duration_ns: int, now: int) -> None:
        routine_id, seconds = task.port.node.id, duration_ns / 1e9
        data = {"execution_time": seconds, "retried": True}
        self.ledger.write(RecordKey(routine_id, "completed"), now, data)
        changes = {"execution_time": seconds, "retry_count": task.retry_count}
        self.ledger.routine_states.note_success(routine_id, changes)

    def _new_sums(self, node: Node) -> Sums:
        sums = self.tracked[node.id] = Sums()
        return sums

    def count_failure(self, node: Node, duration_ns: int) -> None:
        """With the lock held: add an execution that failed to the run's sums."""
        (self.tracked.get(node.id) or self._new_sums(node)).add(duration_ns, False)

    def leave(self, task: Activation, outcome: str) -> None:
        """With the lock held: uncount an activation. Everything that it caused is counted by now."""
        self.active.discard(task)
        self.outstanding -= 1
        self._note_left(task, outcome)

    def _note_left(self, task: Activation, outcome: str) -> None:
        if task.deferred:
            self._enter_deferred(task.deferred)
            task.deferred = None
        if self.journal is not None and self.journal is not NO_JOURNAL:  # for which none need be made
            routine_id, slot_name = task.port.key
            self.journal.settled(
                Settlement(self.job_id, task.activation_id, routine_id, slot_name, outcome, task.retry_count + 1)
            )

    def note_retry(self, task: Activation, due_ns: int | None) -> None:
        """With the lock held: an attempt has failed, and there will be another."""

    def _enter_deferred(self, events: list[tuple[str, str, dict[str, Any]]]) -> None:
        timestamp = self.ledger.instant(self.now()).isoformat()
        entries = [
            {"routine_id": routine_id, "event_name": event_name, "data": data, "timestamp": timestamp}
            for routine_id, event_name, data in events
        ]
        self.job_state.deferred_events.extend(entries)
        if self.ledger.scribe is not None:
            self.ledger.scribe.deferred(entries)

    def _release_held(self, task: Activation, effects: list[Held]) -> int:
        """With the lock held, which is let go of while outputs are sent: let the effects of a successful attempt go.

        What threads of the handler do after that goes at once. What they do while outputs are sent is found by the next
        look, and the look that finds nothing is one critical section with the end of holding back: so nothing is left
        behind, and their outputs come after those that were held. A run that is over has sent all its outputs.
        """
        held: Counter[str] = Counter()
        done = 0
        while len(effects) > done:
            found, done = effects[done:], len(effects)
            if task.replay is not None or any(isinstance(effect, HeldOutput | HeldCall) for effect in found):
                self.lock.release()
                try:
                    self._prepare_held(task, found, held)
                finally:
                    self.lock.acquire()
        task.effects = None
        given = 0
        for effect in effects:
            if isinstance(effect, HeldEmission):
                given += self._release(task, effect.wired, effect.data, effect.delay, effect.priority, effect.differs)
            elif isinstance(effect, HeldRequest):
                given += self.ask(task, effect)
        return given

    def _prepare_held(self, task: Activation, effects: list[Held], held: Counter[str]) -> None:
        # Without the lock: the output handler is the user's, and so is what is compared.
        for effect in effects:
            if isinstance(effect, HeldOutput):
                self.job_state.send_output(effect.routine_id, effect.output_type, effect.data)
            elif isinstance(effect, HeldCall):
                effect.make()
            elif isinstance(effect, HeldEmission) and task.replay is not None:
                name = effect.wired.name_in(task.port.node)
                effect.differs = self._differs(task, effect.wired, effect.data, held[name])
                held[name] += 1

    def new_task(self, port: Port, data: dict[str, Any], identity: int, now: int) -> Activation:
        """A task that came by no line."""
        return Activation(self, port, data, None, NORMAL, identity, now)

    # -- slot data

    def slot_data_of(self, slot: "Slot", activation: Activation) -> dict[str, Any]:
        """What a slot holds in this run."""
        key = (activation.routine_id_of(slot.routine), slot.name)
        ledger = self.ledger
        with self.lock:
            held = ledger.slot_data.get(key)
            if held is None or (slot.replaces and ledger.own_slot_data.get(key) is not held):
                # It is the dict of the delivery that replaced what was there, or it is in its record. Copied here and
                # not when it is delivered: few handlers look, and what they change must not reach a retry.
                held = ledger.slot_data[key] = ledger.own_slot_data[key] = dict(dict.items(held or {}))
            return held

    def set_slot_data(self, slot: "Slot", activation: Activation, data: dict[str, Any]) -> None:
        """Replace what a slot holds in this run."""
        key = (activation.routine_id_of(slot.routine), slot.name)
        with self.lock:
            self._put_slot_data(key, data)

    def _put_slot_data(self, key: tuple[str, str], data: dict[str, Any]) -> None:
        """With the lock held: a handler has set what a slot holds."""
        self.ledger.slot_data[key] = self.ledger.own_slot_data[key] = data

    # `Slot.receive` in a handler merges under the same lock, by `snapshot_lock`.

    def merge(self, task: Activation) -> None:
        """Merge a delivery into what its slot holds; once, at the first attempt."""
        port = task.port
        with self._merge_lock:
            with self.lock:
                old = self.ledger.slot_data.get(port.key, {})
            held, task.data = port.slot.merge(old, task.data)
            with self.lock:
                self.ledger.slot_data[port.key] = held
            task.merged = True
