"""Who drives a run: what every store promises about it, over every backend."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from routilux.errors import LeaseLostError, RunDrivenError, UnknownRunError
from routilux.stores import Store, Write
from tests.contract.backends import Opener, driver_count, header, journal


def test_a_run_is_driven_by_one_at_a_time(store: Store, other: Store) -> None:
    store.create(header("a"), journal(1, 1))
    assert other.claim("flow") == []
    with pytest.raises(RunDrivenError, match=f"'a' is driven by {store.driver}"):
        other.claim("flow", "a")
    with pytest.raises(LeaseLostError):
        other.write([Write("a", journal(2, 2))])
    assert store.rows("a") == journal(1, 1)


def test_a_claim_takes_what_nobody_drives_oldest_first(store: Store, other: Store) -> None:
    for name, status, created_at in [
        ("late", "running", 3.0),
        ("early", "pending", 1.0),
        ("paused", "paused", 1.0),
        ("done", "completed", 1.0),
        ("between", "running", 2.0),
    ]:
        store.create(header(name, status=status, created_at=created_at), [])
        store.write([Write(name, release=True)])
    store.create(header("elsewhere", flow_id="other flow"), [])
    store.write([Write("elsewhere", release=True)])
    store.create(header("held"), [])
    claimed = other.claim("flow")
    assert [run.job_id for run in claimed] == ["early", "between", "late"]
    assert {run.driver for run in claimed} == {other.driver}
    assert claimed[0] == other.find("early")
    assert other.claim("flow") == []
    other.write([Write("early", journal(1, 1))])


def test_one_run_may_be_claimed_whatever_its_status(store: Store, other: Store) -> None:
    store.create(header("a", status="failed"), [])
    store.write([Write("a", release=True)])
    assert [run.job_id for run in other.claim("flow", "a")] == ["a"]
    assert [run.job_id for run in other.claim("flow", "a")] == ["a"]  # it is its own
    other.write([Write("a", status="running")])


def test_a_run_that_is_not_there_cannot_be_claimed(store: Store) -> None:
    with pytest.raises(UnknownRunError, match="no run 'a' of the flow 'flow'"):
        store.claim("flow", "a")
    store.create(header("a"), [])
    with pytest.raises(UnknownRunError, match="no run 'a' of the flow 'other'"):
        store.claim("other", "a")


def test_a_lease_that_has_run_out_may_be_taken(frail: Store, other: Store) -> None:
    frail.create(header("a"), journal(1, 1))
    assert [run.job_id for run in other.claim("flow")] == ["a"]
    with pytest.raises(LeaseLostError, match="sign of life"):
        frail.write([Write("a", journal(2, 2))])
    with pytest.raises(LeaseLostError):
        frail.renew()
    assert other.rows("a") == journal(1, 1)
    other.write([Write("a", journal(2, 2, "other"))])


def test_who_wrote_a_moment_ago_writes_nothing_after_its_lease_was_taken(opened: Opener, other: Store) -> None:
    store = opened(lease_seconds=60.0)
    store.create(header("a"), journal(1, 1))
    store.create(header("b"), journal(1, 1))
    for number in (2, 3):
        store.write([Write("a", journal(number, number)), Write("b", journal(number, number))])
    store.lease_seconds = 0.0
    store.renew()
    store.lease_seconds = 60.0
    other.claim("flow", "b")
    for job_id in ("a", "b"):
        with pytest.raises(LeaseLostError):
            store.write([Write(job_id, journal(4, 4))])
        assert other.rows(job_id) == journal(1, 3)


def test_who_wrote_a_moment_ago_and_let_go_of_a_run_writes_nothing_more_to_it(store: Store, other: Store) -> None:
    store.create(header("a"), journal(1, 1))
    store.create(header("b"), journal(1, 1))
    for number in (2, 3):
        store.write([Write("a", journal(number, number)), Write("b", journal(number, number))])
    store.write([Write("a", release=True)])
    other.claim("flow", "a")
    with pytest.raises(LeaseLostError):
        store.write([Write("b", journal(4, 4)), Write("a", journal(4, 4))])
    assert [len(other.rows(job_id)) for job_id in ("a", "b")] == [3, 3]
    store.write([Write("b", journal(4, 4))])


def test_a_run_that_was_forgotten_and_made_anew_elsewhere_is_another_run(opened: Opener, other: Store) -> None:
    store = opened(lease_seconds=60.0)
    store.create(header("a"), journal(1, 1))
    store.write([Write("a", journal(2, 2))])
    store.lease_seconds = 0.0
    store.renew()
    other.delete("a")
    other.create(header("a"), journal(1, 1, "new"))
    store.lease_seconds = 60.0
    store.renew()
    for write in (
        Write("a", journal(3, 3)),
        Write("a", status="failed"),
        Write("a", snapshot="old", snapshot_number=2),
    ):
        with pytest.raises(LeaseLostError):
            store.write([write])
    assert other.rows("a") == journal(1, 1, "new")
    assert other.snapshot("a") is None
    assert [run.status for run in other.list_runs()] == ["running"]
    other.write([Write("a", journal(2, 2, "new"))])


def test_whose_lease_was_taken_gets_nothing_more_until_it_is_closed(frail: Store, other: Store) -> None:
    frail.create(header("a"), [])
    frail.create(header("b", flow_id="other flow"), [])
    other.claim("flow", "a")
    for call in (lambda: frail.create(header("c"), []), lambda: frail.claim("flow"), frail.renew):
        with pytest.raises(LeaseLostError):
            call()
    with pytest.raises(LeaseLostError):  # its lease is gone, and so are its other runs
        frail.write([Write("b", journal(1, 1))])
    assert frail.find("c") is None
    before = frail.driver
    frail.close()
    assert frail.driver != before
    assert frail.create(header("c"), [])
    assert [run.job_id for run in frail.claim("other flow")] == ["b"]


def test_a_lease_that_has_run_out_and_that_nobody_took_goes_on(frail: Store, other: Store) -> None:
    frail.create(header("a"), journal(1, 1))
    frail.renew()
    frail.write([Write("a", journal(2, 2))])
    assert frail.create(header("b"), [])
    assert driver_count(other, ["a", "b"]) == {frail.driver: 2}


def test_a_write_renews_the_lease_when_it_has_become_old(frail: Store, other: Store) -> None:
    frail.create(header("a"), [])
    frail.lease_seconds = 60.0
    frail.write([Write("a", journal(1, 1))])
    assert other.claim("flow") == []


def test_a_renewal_makes_the_lease_last(frail: Store, other: Store) -> None:
    frail.create(header("a"), [])
    frail.lease_seconds = 60.0
    frail.renew()
    assert other.claim("flow") == []


def test_a_lease_lasts_for_its_time_and_no_longer(opened: Opener, other: Store) -> None:
    brief = opened(lease_seconds=0.2)
    began = time.monotonic()
    brief.create(header("a"), [])
    while not other.claim("flow"):
        assert time.monotonic() - began < 30.0
    assert time.monotonic() - began >= 0.19  # the clocks need not agree to the last


def test_a_renewal_without_a_lease_does_nothing(store: Store) -> None:
    store.renew()
    store.create(header("a"), [])
    store.close()
    store.renew()
    with pytest.raises(LeaseLostError):
        store.write([Write("a", journal(1, 1))])


def test_who_closes_lets_go_of_its_runs(store: Store, other: Store) -> None:
    store.create(header("a"), [])
    first = store.driver
    store.close()
    assert driver_count(other, ["a"]) == {None: 1}
    assert [run.job_id for run in other.claim("flow")] == ["a"]
    assert store.driver != first
    with pytest.raises(LeaseLostError):
        store.write([Write("a", journal(1, 1))])
    with pytest.raises(RunDrivenError):
        store.claim("flow", "a")


def test_of_several_who_claim_at_once_each_run_goes_to_one(opened: Opener) -> None:
    maker = opened(lease_seconds=1e-9)
    names = [f"run {number}" for number in range(30)]
    for name in names:
        maker.create(header(name), [])
    rivals = [opened() for _ in range(4)]
    together = threading.Barrier(len(rivals))

    def claim(rival: Store) -> list[str]:
        together.wait(10.0)
        return [run.job_id for run in rival.claim("flow")]

    with ThreadPoolExecutor(len(rivals)) as pool:
        claims = list(pool.map(claim, rivals))
    assert sorted(name for claim in claims for name in claim) == sorted(names)
    assert driver_count(maker, names) == {
        rival.driver: len(claim) for rival, claim in zip(rivals, claims, strict=True) if claim
    }
