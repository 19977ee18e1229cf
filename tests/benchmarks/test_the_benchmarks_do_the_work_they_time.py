"""Each case runs once, at a tiny size. What is looked at is the work, never the time."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import flows
from tests.benchmarks.__main__ import main
from tests.benchmarks.cases import CASES, hop_us, message_us
from tests.benchmarks.measure import Case, Result, Sizes, Target, WorkNotDoneError, measure

TINY = Sizes(
    hops=12,
    ring=5,
    messages=15,
    grown=2,
    repeats=2,
    runs=3,
    sleepers=4,
    sleep_seconds=0.001,
    sleeping_workers=2,
    queued=20_000,
    slow_handler_seconds=0.001,
    records=30,
    many_records=30,
    awaiting=20,
    await_seconds=0.001,
)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_does_its_work_and_comes_to_a_ratio(case: Case) -> None:
    result = measure(case, TINY, 1)
    assert result.ours > 0
    assert result.ratio == pytest.approx(result.ours / result.floor)


def test_a_lost_message_is_found_out() -> None:
    calls = flows.Calls()
    with flows.fan_out(1, lambda v: calls.add() if v != 7 else None) as flow, pytest.raises(WorkNotDoneError):
        message_us(flow, calls, 10)


def test_a_flow_that_goes_nowhere_is_found_out() -> None:
    calls = flows.Calls()
    with flows.ring(3, 1, calls) as flow:
        flow.connections[0].disconnect()
        with pytest.raises(WorkNotDoneError):
            hop_us(flow, calls, 10)


def test_a_run_that_keeps_no_full_record_is_found_out() -> None:
    calls = flows.Calls()
    with flows.fan_out(1, lambda v: calls.add()) as flow:
        flow.history_limit = 5
        with pytest.raises(WorkNotDoneError, match="records"):
            message_us(flow, calls, 10)


def test_the_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_the_medians() -> None:
    result = Result(CASES[0], ((2.0, 1.0), (30.0, 10.0), (4.0, 40.0)))
    assert result.ratio == 2.0
    assert (result.ours, result.floor) == (4.0, 10.0)


def test_a_target_may_be_a_ratio_a_figure_of_our_own_or_a_rate() -> None:
    result = Result(CASES[0], ((50.0, 100.0),))
    assert Target(0.5).is_met(result)
    assert not Target(0.4).is_met(result)
    assert Target(50, of_ratio=False).is_met(result)
    assert not Target(49, of_ratio=False).is_met(result)
    assert Target(0.3, at_least=True).is_met(result)
    assert not Target(0.6, at_least=True).is_met(result)


def test_the_command_prints_a_row_for_each_chosen_case_and_writes_every_reading(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    main(["--only", "chain", "--only", "memory", "--pairs", "2", "--json", str(file)], TINY)
    _, _, table = capsys.readouterr().out.partition("\n---")
    rows = [line.split()[0] for line in table.splitlines()[1:]]
    assert rows == ["chain-1", "chain-4", "memory"]
    found = json.loads(file.read_text(encoding="utf-8"))["benchmarks"]
    assert list(found) == rows
    assert all(len(figures["readings"]) == 2 for figures in found.values())


def test_an_unknown_name_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "chian"])
    assert "chain-1" in capsys.readouterr().err
