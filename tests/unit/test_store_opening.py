import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from routilux.errors import InvalidTypeError, InvalidValueError, MissingExtraError
from routilux.stores import RunHeader, open_store
from routilux.stores.memory import MemoryStore
from routilux.stores.postgres import PostgresStore
from routilux.stores.sqlite import SQLiteStore

HEADER = RunHeader("a", "flow", "running", 1.0, 1.0)


def test_a_path_is_a_sqlite_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given in ("runs.db", "sqlite:///runs.db", f"sqlite:///{tmp_path}/runs.db", tmp_path / "runs.db"):
        store = open_store(given)
        assert isinstance(store, SQLiteStore)
        assert store.path == str(tmp_path / "runs.db")
        assert store.url == f"sqlite:///{tmp_path}/runs.db"


def test_a_relative_path_is_that_of_the_folder_where_the_store_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("runs.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.create(HEADER, [])
    store.close()
    assert (tmp_path / "runs.db").exists()


def test_opening_a_store_does_not_touch_the_disk(tmp_path: Path) -> None:
    open_store(tmp_path / "runs.db").close()
    assert list(tmp_path.iterdir()) == []


def test_memories_of_one_name_are_one_and_the_others_are_apart() -> None:
    first, second, other, nameless = map(open_store, ["memory:name", "memory:name", "memory:other", "memory:"])
    first.create(HEADER, [])
    assert second.find("a") == first.find("a")
    assert other.find("a") is None
    assert nameless.find("a") is None
    assert open_store("memory:").find("a") is None
    assert isinstance(first, MemoryStore)


def test_a_store_is_taken_as_it_is() -> None:
    store = MemoryStore()
    assert open_store(store) is store


def test_a_level_is_handed_on_and_a_wrong_one_refused(tmp_path: Path) -> None:
    assert open_store(tmp_path / "runs.db").level == "group"
    assert open_store(tmp_path / "runs.db", level="sync").level == "sync"
    assert open_store("memory:", level="sync").level == "sync"
    for given in (tmp_path / "runs.db", "memory:", "postgresql://"):
        with pytest.raises(InvalidValueError, match=r"level 'full' does not exist\. Known: 'group', 'sync'"):
            open_store(given, level="full")


@pytest.mark.parametrize(
    "given",
    [
        "mysql://host/db",
        "",
        ":memory:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "memory",
        "sqlite:/runs.db",
        "postgresql:host/db",
        "postgres:/host/db",
    ],
)
def test_what_is_no_store_is_refused_with_those_that_there_are(given: str) -> None:
    with pytest.raises(InvalidValueError, match=r"'runs\.db' or 'sqlite:///runs\.db', 'postgresql://"):
        open_store(given)


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(InvalidTypeError, match="not int"):
        open_store(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_url_of_postgresql_is_shown_without_its_password(scheme: str) -> None:
    store = open_store(f"{scheme}://somebody:secret@example.com:5433/base?sslmode=require", level="sync")
    assert isinstance(store, PostgresStore)
    assert store.url == "postgresql://somebody@example.com:5433/base"
    assert "secret" not in repr(store)
    assert "secret" not in str(vars(store).get("url"))


def test_a_url_that_postgresql_does_not_know_is_refused_without_its_password() -> None:
    with pytest.raises(InvalidValueError, match="not the URL of a PostgreSQL database") as caught:
        open_store("postgresql://somebody:secret@host/base?no_such_setting=1")
    assert "no_such_setting" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql://somebody:secret@[host/base", "postgresql://somebody:se%zzcret@host/base"]
)
def test_what_is_quoted_of_a_broken_url_is_not_its_password(url: str) -> None:
    with pytest.raises(InvalidValueError, match="not the URL of a PostgreSQL database") as caught:
        open_store(url)
    assert "cret" not in "".join(traceback.format_exception(caught.value))


def test_without_psycopg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "routilux.stores.postgres")
    with pytest.raises(MissingExtraError, match=r"pip install 'psycopg\[binary\]'"):
        open_store("postgresql://host/base")


def test_importing_the_library_loads_no_database(tmp_path: Path) -> None:
    program = (
        "import sys, routilux, routilux.stores\n"
        "print([name for name in ('sqlite3', 'psycopg', 'socket') if name in sys.modules])\n"
        f"routilux.stores.open_store({str(tmp_path / 'runs.db')!r})\n"
        "print([name for name in ('sqlite3', 'psycopg') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['sqlite3']"]
