"""Saving is atomic: at every instant, and whatever fails, the path holds a whole old or a whole new state."""

import builtins
import errno
import io
import itertools
import json
import os
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from routilux import ExecutionRecord, JobState
from routilux.job_state import ledger_of
from routilux.state_file import Saves
from tests.drawings import DEADLINE, Gate, draw_stepped, in_thread, node, reloaded, source, wait

ROOT = Path(__file__).parents[2]  # the child processes import from it
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
POSIX_MODES = pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
POSIX_LINKS = pytest.mark.skipif(os.name != "posix", reason="links that anybody may make, as POSIX has them")


def a_state(word="old", size=10):
    state = JobState("f")
    state.update_shared_data("word", word)
    state.update_shared_data("ballast", [word * 10] * size)
    state.record_execution("a", "start", {"slot": "trigger"})
    return state


def word_in(path):
    """The word of a state that is whole."""
    state = JobState.load(path)
    word = state.shared_data["word"]
    assert set(state.shared_data["ballast"]) == {word * 10}
    assert [record.event_name for record in state.execution_history] == ["start"]
    return word


def names_in(folder):
    return sorted(each.name for each in folder.iterdir())


# -- what a user sees


@pytest.mark.parametrize("kind", [str, Path])
def test_saving_makes_the_folders(tmp_path, kind):
    path = tmp_path / "a" / "b c" / "état.json"
    a_state().save(kind(path))
    assert word_in(kind(path)) == "old"
    assert names_in(path.parent) == ["état.json"]


def test_a_state_is_saved_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_state().save("state.json")
    assert JobState.load("state.json").shared_data["word"] == "old"


@pytest.mark.parametrize("name", ["s", "x" * 200, "é" * 110, "😀" * 60, ".hidden", "no extension", "a\nb"])
def test_any_name_that_the_system_takes_will_do(tmp_path, name):
    a_state().save(tmp_path / name)
    a_state("new").save(tmp_path / name)
    assert word_in(tmp_path / name) == "new"
    assert names_in(tmp_path) == [name]


def test_a_saved_file_is_the_serialized_state(tmp_path):
    state = a_state()
    state.save(tmp_path / "state.json")
    assert json.loads((tmp_path / "state.json").read_text()) == state.serialize()


def test_a_saved_file_has_a_line_for_each_record(tmp_path):
    job_state = a_state()
    for number in range(20):
        job_state.record_execution("a", "line", {"number": number, "text": "one\ntwo"})
    job_state.save(tmp_path / "run.json")
    lines = (tmp_path / "run.json").read_text().splitlines()
    assert [json.loads(line.rstrip(","))["data"]["number"] for line in lines if '"line"' in line] == list(range(20))


def test_what_callers_append_to_the_shared_log_comes_back_whatever_it_is(tmp_path):
    job_state = JobState("a")
    job_state.shared_log += ["text", 5, None, ["list"], {"a": 1}]
    job_state.save(tmp_path / "run.json")
    assert JobState.load(tmp_path / "run.json").shared_log == job_state.shared_log


def test_a_path_that_is_a_folder_is_refused_and_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        a_state().save(tmp_path / "folder")
    assert names_in(tmp_path) == ["folder"]
    assert names_in(tmp_path / "folder") == []


@pytest.mark.parametrize("below", ["state.json", "a/b/state.json"])
def test_a_file_in_the_place_of_a_folder_is_refused_by_its_name_and_stays(tmp_path, below):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(NotADirectoryError) as raised:
        a_state().save(tmp_path / "mine" / below)
    assert f"{tmp_path / 'mine'} is a file, not a folder" in str(raised.value)
    assert (tmp_path / "mine").read_text() == "mine"


@POSIX_MODES
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_new_file_gets_what_the_umask_says(tmp_path, umask):
    before = os.umask(umask)
    try:
        a_state().save(tmp_path / "state.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o666 & ~umask


@POSIX_MODES
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o400])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "state.json"
    a_state().save(path)
    path.chmod(mode)
    a_state("new").save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert word_in(path) == "new"


@POSIX_MODES
def test_what_was_for_its_owners_eyes_only_is_shown_to_nobody_while_it_is_replaced(tmp_path, monkeypatch):
    path, modes = tmp_path / "state.json", []
    a_state().save(path)
    path.chmod(0o600)
    real_open, real_fsync = io.open, os.fsync

    def note(handle):
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode):
            modes.append(stat.S_IMODE(status.st_mode))

    def opened(*args, **options):
        file = real_open(*args, **options)
        note(file.fileno())
        return file

    def synced(handle):
        note(handle)
        real_fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        patch.setattr(os, "fsync", synced)
        a_state("new").save(path)
    assert modes == [0o600, 0o600]  # before the first byte, and after the last
    assert word_in(path) == "new"


@POSIX_MODES
def test_what_was_for_its_owners_eyes_only_stays_so(tmp_path):
    path = tmp_path / "state.json"
    a_state().save(path)
    path.chmod(0o600)
    a_state("new").save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert word_in(path) == "new"


@POSIX_LINKS
def test_a_link_stays_a_link_and_the_file_that_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "state.json").symlink_to("../again.json")
    (tmp_path / "again.json").symlink_to(tmp_path / "there" / "real.json")
    a_state().save(tmp_path / "there" / "real.json")
    a_state("new").save(tmp_path / "here" / "state.json")
    assert (tmp_path / "here" / "state.json").is_symlink()
    assert (tmp_path / "again.json").is_symlink()
    assert word_in(tmp_path / "there" / "real.json") == "new"
    assert [names_in(tmp_path / each) for each in ("here", "there")] == [["state.json"], ["real.json"]]


@POSIX_LINKS
def test_saving_to_a_link_that_leads_nowhere_makes_the_file_that_it_names(tmp_path):
    (tmp_path / "state.json").symlink_to("deep/real.json")
    a_state().save(tmp_path / "state.json")
    assert (tmp_path / "state.json").is_symlink()
    assert word_in(tmp_path / "deep" / "real.json") == "old"


@POSIX_LINKS
def test_a_link_that_leads_to_itself_is_refused_and_stays(tmp_path):
    (tmp_path / "state.json").symlink_to("state.json")
    with pytest.raises(OSError, match=r"state\.json"):
        a_state().save(tmp_path / "state.json")
    assert (tmp_path / "state.json").is_symlink()
    assert names_in(tmp_path) == ["state.json"]


def test_what_a_dead_process_left_behind_is_in_nobodys_way(tmp_path):
    for number in range(20):
        (tmp_path / f".state.json.{os.getpid()}.{number}.tmp").write_text("half")
        (tmp_path / f".state.json.1.{number}.tmp").write_text("half")
    before = names_in(tmp_path)
    a_state().save(tmp_path / "state.json")
    assert word_in(tmp_path / "state.json") == "old"
    assert names_in(tmp_path) == sorted([*before, "state.json"])


# -- what is loaded


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    for path in (tmp_path / "gone.json", str(tmp_path / "gone" / "too.json"), tmp_path / "a\0b"):
        with pytest.raises(FileNotFoundError, match="JobState file not found"):
            JobState.load(path)


def test_a_folder_is_no_state(tmp_path):
    with pytest.raises(ValueError, match="is a folder") as raised:
        JobState.load(tmp_path)
    assert str(tmp_path) in str(raised.value)


def saved_text():
    return json.dumps(a_state().serialize(), indent=2)


BROKEN = {
    "empty": "",
    "not JSON": "word",
    "a list": "[]",
    "a number": "5",
    "a text": '"JobState"',
    "null": "null",
    "no type": "{}",
    "another type": '{"_type": "Flow", "flow_id": "f"}',
    "a type that is no text": '{"_type": ["JobState"]}',
    "a base class": '{"_type": "Serializable"}',
    "a class that is no state": '{"_type": "Routine"}',
    "newer": '{"_type": "JobState", "format_version": 2}',
    "two documents": "{}{}",
    "half a surrogate": '{"_type": "JobState", "flow_id": "\\ud8',
    "a number beyond all bounds": '{"_type": "JobState", "metadata": {"n": ' + "9" * 5000 + "}}",
    "a wrong value": '{"_type": "JobState", "status": 5}',
    "too deep": '{"_type": "JobState", "metadata": {"a": ' + "[" * 500 + "]" * 500 + "}}",
    "far too deep": "[" * 100_000,
}


@pytest.mark.parametrize("trouble", BROKEN)
def test_what_is_no_state_is_refused_and_the_file_and_the_trouble_are_named(tmp_path, trouble):
    path = tmp_path / "some state.json"
    path.write_text(BROKEN[trouble])
    with pytest.raises(ValueError, match=r"some state\.json is not a JobState") as raised:
        JobState.load(path)
    assert len(str(raised.value)) > len(str(path)) + 30
    assert len(str(raised.value)) < 1000


def test_a_newer_file_is_refused_by_its_version(tmp_path):
    path = tmp_path / "state.json"
    path.write_text(json.dumps({**a_state().serialize(), "format_version": 7}))
    with pytest.raises(ValueError, match=r"state\.json.*format version 7.*versions up to 1"):
        JobState.load(path)


def test_a_file_that_was_cut_off_anywhere_is_refused(tmp_path):
    path, text = tmp_path / "state.json", saved_text()
    for length in range(len(text)):
        path.write_text(text[:length])
        with pytest.raises(ValueError, match=r"state\.json"):
            JobState.load(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-7", "latin-1"])
def test_a_file_in_another_encoding_is_refused(tmp_path, encoding):
    state = json.dumps({**a_state().serialize(), "flow_id": "Ã©é"}, ensure_ascii=False)
    (tmp_path / "state.json").write_bytes(state.encode(encoding))
    if encoding == "utf-7":  # which is ASCII: the text means something else, and is whole
        assert JobState.load(tmp_path / "state.json").flow_id != "Ã©é"
        return
    with pytest.raises(ValueError, match=r"state\.json is not a JobState file"):
        JobState.load(tmp_path / "state.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_that_an_editor_has_saved_as_utf_8_is_loaded(tmp_path, encoding):
    state = json.dumps({**a_state().serialize(), "flow_id": "é😀"}, ensure_ascii=False)
    (tmp_path / "state.json").write_bytes(state.encode(encoding))
    assert JobState.load(tmp_path / "state.json").flow_id == "é😀"


def test_a_key_that_stands_there_twice_counts_as_it_stands_last(tmp_path):
    path = tmp_path / "state.json"
    path.write_text('{"_type": "Flow", "_type": "JobState", "flow_id": "a", "flow_id": "b"}')
    assert JobState.load(path).flow_id == "b"


def test_a_subclass_of_the_state_loads_what_it_has_saved_and_plain_states(tmp_path):
    class Remembering(JobState):
        pass

    state = Remembering("f")
    state.save(tmp_path / "own.json")
    a_state().save(tmp_path / "plain.json")
    assert type(Remembering.load(tmp_path / "own.json")) is Remembering
    assert type(Remembering.load(tmp_path / "plain.json")) is Remembering
    with pytest.raises(ValueError, match="'Remembering', not 'JobState'"):
        JobState.load(tmp_path / "own.json")


# -- each step fails in turn


class FailingFile:
    """A file, of which one step fails."""

    def __init__(self, file, step, fail, half):
        self.file, self.step, self.fail, self.half = file, step, fail, half

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.file.close()
        if self.step == "close":
            self.fail()

    def __getattr__(self, name):
        if name == "write" and self.step == "half a write":
            return self.half
        return self.fail if name == self.step else getattr(self.file, name)


class Failing:
    """Makes one of the steps of saving fail with an error of the system, the n-th time it is taken."""

    def __init__(self, monkeypatch, step, error):
        self.count, self.error = 0, error
        if step in ("write", "flush", "close", "half a write"):
            real_open = io.open
            monkeypatch.setattr(io, "open", lambda *args, **options: self.wrap(real_open(*args, **options), step))
            monkeypatch.setattr(builtins, "open", io.open)
        elif step == "open":
            monkeypatch.setattr(io, "open", self.fail)
            monkeypatch.setattr(builtins, "open", self.fail)
        else:
            monkeypatch.setattr(os, step, self.fail)

    def fail(self, *args, **options):
        self.count += 1
        raise self.error

    def wrap(self, file, step):
        real = file.write

        def half(text):
            real(text[: len(text) // 2])
            file.flush()
            self.fail()

        return FailingFile(file, step, self.fail, half)


ERRORS = [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "I/O error"), KeyboardInterrupt()]
STEPS = ["open", "write", "half a write", "flush", "close", "fsync", "chmod", "replace"]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("step", STEPS)
def test_whatever_step_fails_the_old_state_is_still_there_and_nothing_beside_it(tmp_path, monkeypatch, step, error):
    path = tmp_path / "state.json"
    a_state().save(path)
    with monkeypatch.context() as patch:
        failing = Failing(patch, step, error)
        with pytest.raises(type(error)):
            a_state("new").save(path)
    assert failing.count == 1
    assert word_in(path) == "old"
    assert names_in(tmp_path) == ["state.json"]
    a_state("new").save(path)
    assert word_in(path) == "new"


@pytest.mark.parametrize("step", ["open", "write", "half a write", "flush", "close", "fsync", "replace"])
def test_where_there_was_no_file_a_failure_leaves_none(tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        Failing(patch, step, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(OSError, match="No space"):
            a_state().save(tmp_path / "deep" / "state.json")
    assert names_in(tmp_path / "deep") == []


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(OSError, match="Read-only"):
        a_state().save(tmp_path / "deep" / "state.json")


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    path, real = tmp_path / "state.json", os.open

    def refuse(name, *args, **options):
        if os.fspath(name) == os.fspath(tmp_path):
            raise OSError(errno.EACCES, "Permission denied")
        return real(name, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    a_state("new").save(path)
    assert word_in(path) == "new"


def test_a_state_that_cannot_be_removed_beside_the_file_reports_the_first_error(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "unlink", lambda *args, **options: Path("/no/such/file").stat())
    with pytest.raises(OSError, match="No space"):
        a_state().save(tmp_path / "state.json")


# -- the process is killed

# Forks one process per instant: each saves, and is killed at that instant, counted in lines of Python that were
# executed, or in bytes that were written.
KILLED_AT_EVERY_LINE = """
import os, resource, signal, sys
from tests.acceptance.test_files_saving import a_state, names_in, word_in
from pathlib import Path

path, kind = Path(sys.argv[1]), sys.argv[2]
size = 3000 if kind == "bytes" else 50
a_state("old", size).save(path)
new = a_state("new", size)
data = new.serialize()
new.serialize = lambda: data

def saved_until(instant):
    pid = os.fork()
    if pid == 0:
        try:
            if kind == "bytes":
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_FSIZE, (instant, instant))
            else:
                left = [instant]
                def trace(frame, event, arg):
                    if "json" in frame.f_code.co_filename:
                        return None
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return trace
                sys.settrace(trace)
            new.save(path)
            sys.settrace(None)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]

killed, words, step = 0, [], 5000 if kind == "bytes" else 1
for instant in range(0, 1_000_000, step):
    status = saved_until(instant)
    words.append(word_in(path))
    if status == 0:
        break
    assert os.WIFSIGNALED(status)
    killed += 1
    if words[-1] == "new":
        a_state("old", size).save(path)
left_over = [name for name in names_in(path.parent) if name != path.name]
print(killed, words.count("old"), words[-1], len(left_over) <= killed)
"""


@NEEDS_FORK
@pytest.mark.parametrize("kind", ["lines", "bytes"])
def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_state(tmp_path, kind):
    found = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EVERY_LINE, str(tmp_path / "state.json"), kind],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=ROOT,
    )
    assert found.returncode == 0, found.stderr
    killed, old_count, last, is_tidy = found.stdout.split()
    assert int(killed) > 10
    assert int(old_count) > 5
    assert (last, is_tidy) == ("new", "True")


DISK_IS_FULL = """
import errno, resource, sys
from tests.acceptance.test_files_saving import a_state, names_in, word_in
from pathlib import Path

path = Path(sys.argv[1])
a_state("old", 2000).save(path)
size = path.stat().st_size
for limit in range(0, size, size // 20):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        a_state("new", 2000).save(path)
    except OSError as error:
        assert error.errno == errno.EFBIG, error
    else:
        raise AssertionError(limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert word_in(path) == "old"
    assert names_in(path.parent) == [path.name]
a_state("new", 2000).save(path)
print(word_in(path))
"""


@NEEDS_FORK
def test_a_disk_that_is_full_in_the_middle_of_a_file_leaves_the_old_state(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", DISK_IS_FULL, str(tmp_path / "state.json")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=ROOT,
    )
    assert found.stdout.strip() == "new", found.stderr


# -- several savers of one path


def test_threads_that_save_to_one_path_leave_one_of_their_states_whole(tmp_path):
    path, stop = tmp_path / "state.json", threading.Event()
    a_state("0").save(path)

    def save(word):
        state = a_state(word, 300)
        for _ in range(15):
            state.save(path)

    def load():
        words = set()
        while not stop.is_set():
            words.add(word_in(path))
        return words

    read = in_thread(load)
    joins = [in_thread(lambda word=str(number): save(word)) for number in range(1, 5)]
    for join in joins:
        join()
    stop.set()
    assert read() <= set("01234")
    assert word_in(path) in "1234"
    assert names_in(tmp_path) == ["state.json"]


SAVER = """
import sys
from tests.acceptance.test_files_saving import a_state
state = a_state(sys.argv[2], 300)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    state.save(sys.argv[1])
"""


def test_processes_that_save_to_one_path_leave_one_of_their_states_whole(tmp_path):
    path = tmp_path / "deep" / "state.json"
    savers = [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, str(path), word],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for word in "xyz"
    ]
    for saver in savers:
        assert saver.stdout.readline() == "ready\n"
    for saver in savers:
        saver.stdin.write("go\n")
        saver.stdin.flush()
    seen = set()
    while any(saver.poll() is None for saver in savers):
        if path.exists():
            seen.add(word_in(path))
    for saver in savers:
        saver.communicate(timeout=DEADLINE)
        assert saver.returncode == 0
    assert seen <= set("xyz")
    assert word_in(path) in "xyz"
    assert names_in(path.parent) == ["state.json"]


@pytest.mark.usefixtures("hasty_switching")
def test_a_state_may_be_saved_while_others_write_it(tmp_path):
    state, stop = a_state(), threading.Event()
    nested = {"rows": {}}
    state.update_shared_data("nested", nested)

    def write():
        for number in itertools.count():
            if stop.is_set():
                return
            if number < 500:
                state.record_execution("a", "tick", {"n": number})
            state.update_routine_state("a", {"n": number})
            state.update_shared_data(f"k{number % 50}", number)
            nested["rows"][str(number % 100)] = [number]
            nested["rows"].pop(str((number * 7) % 100), None)
            ledger_of(state).slot_data["a", "input"] = {"n": [number]}

    join = in_thread(write)
    saved = []
    try:
        for _ in range(30):
            state.save(tmp_path / "state.json")
            saved.append(JobState.load(tmp_path / "state.json"))
    finally:
        stop.set()
        join()
    for each in saved:
        ticks = [record.data["n"] for record in each.execution_history if record.event_name == "tick"]
        assert ticks == list(range(len(ticks)))
        # All of it is of one instant: a number is in the routine's state, and then in the shared data.
        newest = max((value for key, value in each.shared_data.items() if key.startswith("k")), default=-1)
        assert newest <= each.routine_states.get("a", {"n": -1})["n"] <= newest + 1
        assert all(number % 100 == int(key) for key, (number,) in each.shared_data["nested"]["rows"].items())
    state.save(tmp_path / "state.json")
    assert JobState.load(tmp_path / "state.json").serialize() == state.serialize()


# -- what could not be loaded again is not saved


def dated(timestamp):
    record = ExecutionRecord("a", "b", {})
    record.timestamp = timestamp
    return record


SPOILT = {
    "pause_points[0]": lambda state: state.pause_points.append("x"),
    "routine_states['a']": lambda state: state.routine_states.update(a="done"),
    "output_log[0]": lambda state: state.output_log.append({"data": 1}),
    "execution_history[1]": lambda state: state.record_execution("a", "b", [1]),
    "execution_history[1] ": lambda state: state.record_execution(None, "b", {}),
    "execution_history[1]  ": lambda state: state.execution_history.append("x"),
    "output_log[0] ": lambda state: state.send_output(None, "x", {}),
    "deferred_events[0]": lambda state: state.add_deferred_event("a", "b", None),
    "deferred_events": lambda state: setattr(state, "deferred_events", None),
    "pending_tasks[0]": lambda state: state.pending_tasks.append({"routine_id": "a", "slot": "b"}),
    "current_routine_id": lambda state: setattr(state, "current_routine_id", 5),
    "job_id": lambda state: setattr(state, "job_id", 5),
    "metadata": lambda state: setattr(state, "metadata", [1]),
    "shared_log": lambda state: setattr(state, "shared_log", None),
    "created_at": lambda state: setattr(state, "created_at", datetime.max),
    "updated_at": lambda state: setattr(state, "updated_at", datetime(9950, 1, 1)),
    "execution_history[1].timestamp": lambda state: state.execution_history.append(dated(datetime(9950, 1, 1))),
    "execution_history[1].timestamp ": lambda state: state.execution_history.append(dated("now")),
    "execution_history[1] must be an ExecutionRecord": lambda state: state.execution_history.append(
        SimpleNamespace(routine_id="a", event_name="b", data={}, timestamp=datetime.now())
    ),
}


@pytest.mark.parametrize("place", SPOILT)
def test_what_could_not_be_loaded_again_is_not_saved_and_is_named(tmp_path, place):
    path = tmp_path / "state.json"
    a_state().save(path)
    spoilt = a_state("new")
    SPOILT[place](spoilt)
    with pytest.raises((TypeError, ValueError)) as caught:
        spoilt.save(path)
    assert place.strip() in str(caught.value)
    assert word_in(path) == "old"


@pytest.mark.parametrize("name", ["created_at", "updated_at"])
def test_a_time_with_a_zone_is_taken_as_local_time(name):
    state, instant = JobState(), datetime.now().replace(microsecond=0)
    setattr(state, name, instant.astimezone(UTC))
    assert getattr(state, name) == instant


@pytest.mark.parametrize("due_at", ["soon", "", "2026-13-01T00:00:00"])
def test_a_pending_task_that_is_due_at_no_time_is_refused(due_at):
    data = a_state().serialize()
    data["pending_tasks"] = [{"routine_id": "a", "slot": "b", "data": {}, "due_at": due_at}]
    with pytest.raises(ValueError, match=r"pending_tasks\[0\]: 'due_at'"):
        JobState().deserialize(data)


@pytest.mark.parametrize("name", ["created_at", "updated_at"])
def test_a_time_is_a_datetime(name):
    with pytest.raises(TypeError, match="fromisoformat"):
        setattr(JobState(), name, "2020-01-01")


# -- two who save one run


def test_what_was_saved_earlier_never_takes_the_place_of_what_was_saved_later(tmp_path):
    path = tmp_path / "state.json"
    state, gate = a_state(), Gate()
    serialize = state.serialize

    def slowly():
        data = serialize()
        gate.hold()
        return data

    state.serialize = slowly
    join = in_thread(lambda: state.save(path))
    gate.await_arrival()
    state.serialize = serialize
    state.status = "completed"
    state.save(path)
    gate.open()
    join()
    assert JobState.load(path).status == "completed"
    state.status = "cancelled"
    state.save(path)
    assert JobState.load(path).status == "cancelled"


def test_saving_to_ever_new_paths_does_not_remember_each_of_them(tmp_path):
    saves = Saves()
    for number in range(200):
        saves.save(tmp_path / str(number), dict)
    assert len(saves._written) <= 64  # noqa: SLF001 - memory shows from outside only after months


# -- the bound of the history


@pytest.mark.parametrize("limit_of", ["flow", "run"])
def test_a_bounded_history_stays_bounded_and_counts_on_after_loading(limit_of):
    options = {"history_limit": 10} if limit_of == "flow" else {}

    def drawn():
        return draw_stepped("a -> b", options=options, a=source(*range(50)), b=node()).flow

    def run(move):
        flow = drawn()
        job_state = flow.execute("a", history_limit=None if limit_of == "flow" else 10, job_id="bounded")
        flow.pause(job_state)
        if move:
            flow, job_state = drawn(), reloaded(job_state)
        wait(flow, flow.resume(job_state))
        return len(job_state.execution_history), job_state.metadata["history_dropped"]

    assert run(move=True) == run(move=False) == (10, 142)


def test_a_subclass_that_refuses_a_value_is_as_it_was():
    class Strict(JobState):
        @property
        def metadata(self):
            return self.kept

        @metadata.setter
        def metadata(self, value):
            if "forbidden" in value:
                raise ValueError("not in here")
            self.kept = value

    data = a_state().serialize()
    data["metadata"] = {"forbidden": 1}
    state = Strict("mine")
    before = state.serialize()
    with pytest.raises(ValueError, match="not in here"):
        state.deserialize(data)
    assert state.serialize() == before
