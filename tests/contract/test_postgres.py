"""What a PostgreSQL database adds to the contract: its schema, locks, and connections that break."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from routilux.errors import NewerStoreError, StoreBusyError, StoreUnavailableError
from routilux.stores import Write
from routilux.stores.postgres import PostgresStore
from tests.contract.backends import header, journal, running_server, url_of_new_schema


@pytest.fixture
def url(server_url: Callable[[], str]) -> str:
    return url_of_new_schema(server_url())


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(url, busy_seconds=0.2)
    yield store
    store.close()


@pytest.fixture
def direct(url: str) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """A connection to the store's database that is not the store's."""
    with psycopg.connect(url, autocommit=True, application_name="test") as connection:
        yield connection


def end_connections(direct: "psycopg.Connection[tuple[Any, ...]]", url: str) -> int:
    """End all connections of stores; returns how many there were."""
    found = direct.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'routilux'"
    )
    return len(found.fetchall())


# -- the schema


def test_a_newer_schema_is_refused_by_name_and_left_alone(
    store: PostgresStore, direct: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    store.create(header("a"), journal(1, 1))
    store.close()
    direct.execute("UPDATE routilux_schema SET version = 99")
    for call in (store.list_runs, lambda: store.create(header("b"), []), lambda: store.find("a")):
        with pytest.raises(NewerStoreError, match=r"has version 99 of the schema.* up to 1\. Upgrade routilux"):
            call()
    assert direct.execute("SELECT job_id FROM routilux_runs").fetchall() == [("a",)]


def test_bodies_are_kept_as_text(store: PostgresStore, direct: "psycopg.Connection[tuple[Any, ...]]") -> None:
    store.create(header("a"), [])
    found = direct.execute(
        "SELECT DISTINCT data_type FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND column_name IN ('body', 'data')"
    )
    assert found.fetchall() == [("text",)]


# -- connections that break


def test_a_connection_that_was_ended_is_opened_again(
    store: PostgresStore, url: str, direct: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    store.create(header("a"), journal(1, 1))
    calls: list[Callable[[], object]] = [
        lambda: store.write([Write("a", journal(2, 2))]),
        lambda: store.rows("a"),
        store.renew,
        lambda: store.put_input("a", "name", "data"),
        lambda: store.claim("flow"),
        lambda: store.create(header("b"), []),
        lambda: store.write([Write("b", release=True)]),
        lambda: store.delete("b"),
        store.prune,
        store.close,
    ]
    for call in calls:
        assert end_connections(direct, url) > 0
        call()
    assert store.rows("a") == journal(1, 2)
    assert len(store.inputs("a")) == 1


class LostAnswer(psycopg.Connection[Any]):
    """A connection that breaks when the commit has arrived, and before its answer."""

    is_next = False

    def execute(self, query: Any, *args: Any, **settings: Any) -> Any:
        done = super().execute(query, *args, **settings)
        if query == "COMMIT" and LostAnswer.is_next:
            LostAnswer.is_next = False
            self.close()
            raise psycopg.OperationalError("the answer was lost")
        return done


@pytest.fixture
def lose_next_answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr("routilux.stores.postgres.psycopg.connect", LostAnswer.connect)
    return lambda: setattr(LostAnswer, "is_next", True)


def test_a_commit_whose_answer_was_lost_is_repeated_and_happens_once(
    lose_next_answer: Callable[[], None], store: PostgresStore, url: str
) -> None:
    store.list_runs()  # which makes the tables
    lose_next_answer()
    assert store.create(header("a"), journal(1, 1))
    lose_next_answer()
    store.write([Write("a", journal(2, 3), snapshot="text", snapshot_number=2)])
    lose_next_answer()
    store.write([Write("a", journal(4, 4), status="running", release=True)])
    other = PostgresStore(url)
    lose_next_answer()
    assert [run.job_id for run in other.claim("flow")] == ["a"]
    lose_next_answer()
    other.write([Write("a", journal(5, 5), release=True)])
    assert other.rows("a") == journal(1, 5)
    assert not LostAnswer.is_next
    other.close()


def test_an_input_whose_answer_was_lost_is_not_sent_twice(
    lose_next_answer: Callable[[], None], store: PostgresStore
) -> None:
    store.create(header("a"), [])
    lose_next_answer()
    with pytest.raises(StoreUnavailableError, match="Whether the last write has arrived is not known"):
        store.put_input("a", "name", "data")
    assert len(store.inputs("a")) == 1


@pytest.mark.slow
def test_a_server_that_goes_and_comes_back_loses_nothing() -> None:
    with running_server() as server:
        store = PostgresStore(url_of_new_schema(server.get_uri()), lease_seconds=3600.0)
        driver = store.driver
        store.create(header("a"), journal(1, 1))
        store.write([Write("a", journal(2, 2))])
        server.stop()
        calls: list[Callable[[], object]] = [
            lambda: store.write([Write("a", journal(3, 3))]),
            lambda: store.rows("a"),
            lambda: store.claim("flow"),
            store.renew,
            lambda: store.put_input("a", "name", "data"),
        ]
        for _ in range(2):
            for call in calls:
                with pytest.raises(StoreUnavailableError, match=r"postgresql://.* cannot be used"):
                    call()
        server.ensure_postgres_running()
        store.write([Write("a", journal(3, 3))])
        assert store.rows("a") == journal(1, 3)
        assert store.driver == driver
        store.close()


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    store = PostgresStore("postgresql://somebody:secret@127.0.0.1:1/base")
    with pytest.raises(StoreUnavailableError, match=r"somebody@127\.0\.0\.1:1/base cannot be used") as caught:
        store.create(header("a"), [])
    assert "secret" not in str(caught.value)
    store.close()


# -- locks and refusals


def test_who_holds_a_lock_for_too_long_makes_others_busy(
    store: PostgresStore, direct: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    store.create(header("a"), journal(1, 1))
    with direct.transaction():
        direct.execute("SELECT 1 FROM routilux_leases FOR UPDATE")
        direct.execute("SELECT 1 FROM routilux_runs FOR UPDATE")
        for call in (
            lambda: store.write([Write("a", journal(2, 2))]),
            store.renew,
            lambda: store.put_input("a", "name", "data"),
        ):
            with pytest.raises(StoreBusyError, match=r"was held by another process .* 0\.2 s"):
                call()
        assert store.rows("a") == journal(1, 1)
    store.write([Write("a", journal(2, 2))])
    assert store.rows("a") == journal(1, 2)


def test_a_write_that_fails_in_the_middle_leaves_nothing(
    store: PostgresStore, direct: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    store.create(header("a"), journal(1, 1))
    direct.execute("ALTER TABLE routilux_journal ADD CONSTRAINT refusal CHECK (body <> 'row 100')")
    with pytest.raises(StoreUnavailableError, match="refusal"):
        store.write([Write("a", journal(2, 120), status="completed", snapshot="text", snapshot_number=120)])
    with pytest.raises(StoreUnavailableError, match="refusal"):
        store.create(header("b"), journal(1, 100))
    direct.execute("ALTER TABLE routilux_journal DROP CONSTRAINT refusal")
    assert store.rows("a") == journal(1, 1)
    assert [run.status for run in store.list_runs()] == ["running"]
    store.write([Write("a", journal(2, 120))])
    assert store.rows("a") == journal(1, 120)


def test_a_user_who_may_not_make_tables_is_told_so(
    url: str, direct: "psycopg.Connection[tuple[Any, ...]]", server_url: Callable[[], str]
) -> None:
    direct.execute("DROP ROLE IF EXISTS nobody_much")
    direct.execute("CREATE ROLE nobody_much LOGIN")
    store = PostgresStore(url.replace("postgres:@", "nobody_much@"))
    with pytest.raises(StoreUnavailableError, match=r"cannot be used: .* may make and write tables"):
        store.create(header("a"), [])
    store.close()
    direct.execute("DROP ROLE nobody_much")


def test_a_server_that_answers_before_it_writes_to_its_disk_is_told_not_to(
    store: PostgresStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = []
    connect = psycopg.connect
    monkeypatch.setattr(
        "routilux.stores.postgres.psycopg.connect",
        lambda *args, **settings: connections.append(connect(*args, **settings)) or connections[-1],
    )
    hasty = PostgresStore(f"{url}%20-csynchronous_commit%3Doff")
    hasty.create(header("a"), [])
    assert [each.execute("SHOW synchronous_commit").fetchone() for each in connections] == [("on",)]
    hasty.close()
