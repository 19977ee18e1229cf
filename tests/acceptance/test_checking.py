"""A flow is checked before it runs: what is certain to fail is an error, what is hardly meant is logged once."""

import logging
import os
import pickle

import pytest

from routilux import Flow, JobState, Routine
from routilux.errors import BrokenDrawingError
from routilux.flow.drawing import Drawing
from routilux.flow.graph import FlowGraph
from tests.drawings import Gate, Watched, in_thread


def keep(data):
    pass


def broken(text, /, **rest):
    pass


def routine(*slots, handler=keep, events=("output",)):
    made = Routine()
    for name in slots:
        made.define_slot(name, handler)
    for name in events:
        made.define_event(name)
    return made


def flow_with(**routines):
    flow = Flow("checked")
    for routine_id, each in routines.items():
        flow.add_routine(each, routine_id)
    return flow


def broken_flow():
    flow = flow_with(a=routine("trigger"), b=routine("input", handler=broken))
    flow.connect("a", "output", "b", "input")
    return flow


@pytest.fixture
def warnings_of(caplog):
    caplog.set_level(logging.WARNING, "routilux")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("method", ["execute", "run", "stream"])
def test_a_flow_in_which_something_is_certain_to_fail_is_refused_before_anything_has_run(method):
    flow = broken_flow()
    began = []
    flow.routines["a"].get_slot("trigger").handler = lambda **data: began.append(data)

    with pytest.raises(ValueError, match=r"b\.input: The handler 'broken' .* \[unusable-slot\]") as caught:
        getattr(flow, method)("a")

    assert isinstance(caught.value, BrokenDrawingError)
    assert caught.value.flow_id == "checked"
    assert caught.value.findings == tuple(each for each in flow.validate() if each.severity == "error")
    assert began == []
    assert flow.execution_tracker is None


def test_it_is_refused_again_until_the_drawing_is_right_and_a_state_that_was_given_is_as_it_was():
    flow, prepared = broken_flow(), JobState("checked")
    for _ in range(2):
        with pytest.raises(BrokenDrawingError):
            flow.execute("a", job_state=prepared, job_id="mine")
    assert (prepared.status, prepared.job_id == "mine") == ("pending", False)
    flow.routines["b"].get_slot("input").handler = keep
    with flow:
        assert flow.execute("a", job_state=prepared).status == "completed"


def test_the_error_survives_pickling_with_its_findings():
    flow = broken_flow()
    with pytest.raises(BrokenDrawingError) as caught:
        flow.execute("a")
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (type(twin), str(twin), twin.findings) == (type(caught.value), str(caught.value), caught.value.findings)


def test_an_unknown_entry_and_one_without_a_trigger_are_told_as_ever():
    flow = broken_flow()
    with pytest.raises(ValueError, match="Unknown routine 'x'"):
        flow.execute("x")
    with pytest.raises(ValueError, match="has no slot 'trigger'"):
        flow.execute("b")
    with pytest.raises(ValueError, match="has no slot 'trigger'"):
        flow_with(a=routine("input")).execute("a")


def test_a_warning_is_logged_when_a_flow_runs_first_and_not_again(warnings_of):
    with flow_with(a=routine("trigger"), b=routine("input")) as flow:
        assert warnings_of() == []
        for _ in range(3):
            flow.run("a")
        (finding,) = [each for each in flow.validate() if each.severity == "warning"]
        assert warnings_of() == [f"Flow 'checked', {finding}"]


def test_after_a_change_of_the_drawing_only_what_is_new_is_logged(warnings_of):
    with flow_with(a=routine("trigger"), b=routine("input")) as flow:
        flow.run("a")
        flow.add_routine(routine("input"), "c")
        flow.run("a")
        flow.run("a")
        assert len(warnings_of()) == 2
        assert "c: No line leads to it" in warnings_of()[1]


def test_what_is_only_worth_knowing_is_not_logged(warnings_of):
    with flow_with(a=routine("trigger", "other")) as flow:
        flow.run("a")
        assert [each.code for each in flow.validate()] == ["unfed-slot"]
        assert warnings_of() == []


def test_a_drawing_that_has_not_changed_is_not_read_again(monkeypatch):
    reads = []
    graph_of = Drawing.graph

    def counted(drawing: Drawing) -> FlowGraph:
        reads.append(drawing)
        return graph_of(drawing)

    monkeypatch.setattr(Drawing, "graph", counted)
    with flow_with(a=routine("trigger"), b=routine("input")) as flow:
        flow.run("a")
        once = len(reads)  # twice where a store keeps the drawing
        for _ in range(5):
            flow.run("a")
        assert len(reads) == once
        flow.connect("a", "output", "b", "input")
        flow.run("a")
        flow.run("a")
        assert len(reads) == 2 * once
        flow.add_routine(routine("input"), "c")
        flow.run("a")
        assert len(reads) == 3 * once
        assert once > 0


def test_what_is_drawn_while_a_check_looks_is_looked_at_by_the_next(monkeypatch, warnings_of):
    graph_of = Drawing.graph

    def interrupted(drawing: Drawing) -> FlowGraph:
        graph = graph_of(drawing)
        if "late" not in drawing.routines:
            drawing.add_routine(routine("input"), "late")
        return graph

    monkeypatch.setattr(Drawing, "graph", interrupted)
    with flow_with(a=routine("trigger")) as flow:
        flow.run("a")
        assert warnings_of() == []
        flow.run("a")
        assert [text for text in warnings_of() if "late: No line leads to it" in text] == warnings_of() != []


def test_a_check_that_fails_is_logged_and_keeps_no_flow_from_running(monkeypatch, warnings_of):
    def failing(graph: FlowGraph) -> list[object]:
        raise OSError("no drawing today")

    monkeypatch.setattr("routilux.flow.checks.check_graph", failing)
    with flow_with(a=routine("trigger")) as flow:
        assert flow.run("a").status == "completed"
        assert flow.run("a").status == "completed"
    assert warnings_of() == ["The drawing of flow 'checked' could not be checked"]


def test_a_check_asks_a_routine_for_nothing():
    watched = Watched(lambda routine, data: None, slot="trigger")
    with flow_with(a=watched) as flow:
        flow.execute("a")
        asked = []
        watched.on_get_slot = watched.on_get_event = lambda: asked.append(True)
        flow.validate()
        flow.to_mermaid()
        assert asked == []


def test_a_routine_that_shows_its_trigger_by_a_method_is_executed():
    class Late(Routine):
        def get_slot(self, name):
            return super().get_slot("begin" if name == "trigger" else name)

    late = Late()
    late.define_slot("begin", keep)
    with flow_with(a=late) as flow:
        assert flow.run("a").status == "completed"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork beside a thread, which is what this is about
def test_a_child_that_is_forked_while_another_thread_draws_can_execute():
    flow = flow_with(a=routine("trigger"))
    gate = Gate()

    def draw() -> None:
        with flow._drawing_lock:  # noqa: SLF001 - as a drawing does
            gate.hold()

    join = in_thread(draw)
    gate.await_arrival()
    pid = os.fork()
    if pid == 0:
        free = flow._drawing_lock.acquire(timeout=1)  # noqa: SLF001 - as above
        os._exit(0 if free else 1)
    gate.open()
    join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
