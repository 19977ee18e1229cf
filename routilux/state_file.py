"""The saved form of a JobState <-> file, atomically.

With `os` and not with pathlib, whose import would be a twentieth of ours.
"""

import contextlib
import itertools
import json
import os
import stat
from collections import defaultdict
from collections.abc import Callable
from threading import RLock
from typing import Any

from routilux.errors import InvalidDataError, InvalidTypeError, NotPlainError
from routilux.plain import shortened

__all__ = ["Saves", "read_file", "write_file"]

# Of how many paths `Saves` remembers who wrote them last.
_PATHS_MAX = 64

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Saves:
    """The order of the saves of one run: what was saved earlier never takes the place of what was saved later."""

    def __init__(self) -> None:
        # Held while a file is written, and nothing else is taken meanwhile. Re-entrant: a signal handler may save what
        # its own thread is just writing.
        self._lock = RLock()
        self._numbers = itertools.count(1)
        # The number of the newest save by its path. A path that is forgotten could be written by an older save, if that
        # has been under way while as many others were saved to.
        self._written: defaultdict[str, int] = defaultdict(int)

    def save(self, path: str | os.PathLike[str], serialize: Callable[[], dict[str, Any]]) -> None:
        """Serialize and write, unless somebody who called later has written to this path meanwhile."""
        _refuse_no_path(path)
        number = next(self._numbers)
        data = serialize()
        target = os.path.realpath(path)
        # No function is called in here between reading a number and acting on it: a handler could save right after.
        written = self._written
        with self._lock:
            if written[target] >= number:
                return
            write_file(path, data, lambda: written[target] < number)
            if written[target] < number:  # noqa: PLR1730 - `max` is a function
                written[target] = number
            while len(written) > _PATHS_MAX:
                written.pop(min(written, key=written.__getitem__), None)


def _refuse_no_path(path: Any) -> None:
    if not isinstance(path, str | os.PathLike):
        raise InvalidTypeError(f"A file of a JobState is named by a path, as text or pathlib.Path, not by {path!r}.")


def _always() -> bool:
    return True


def write_file(path: str | os.PathLike[str], data: dict[str, Any], is_newest: Callable[[], bool] = _always) -> None:
    """Write data as JSON so that at every instant the path holds the old file or the new one.

    The new one is written beside it, brought to the disk, and put in its place in one step; then the folder is brought
    to the disk as well. Whatever fails leaves the old file as it is, and nothing beside it. A path that is a symbolic
    link stays one: the file that it leads to is replaced, or made.

    Args:
        path: Where.
        data: What.
        is_newest: Asked immediately before the new file is put in its place, whether it still should be.

    Raises:
        OSError: The file cannot be written.
        NotPlainError: The data are nested too deeply to be written from here; no file is touched.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{os.fspath(path)} is a folder. Give the path of a file in it.")
    try:
        text = _text_of(data)
    except RecursionError:
        raise NotPlainError("The state is nested too deeply to be written from here. Save flatter data.") from None
    folder, name = os.path.split(target)
    _make_folder(folder)
    # By chance and not by a number of the process: in containers that share a folder, all of them may be process 1.
    beside = os.path.join(folder, f".{name[:20]}.{os.urandom(16).hex()}.tmp")
    # The old file may be for its owner's eyes only: nobody else can open the new one until it has the same permissions.
    # Where there is none, the umask says who may.
    mode = 0o600 if os.path.exists(target) else 0o666
    try:
        with open(beside, "x", encoding="ascii", opener=lambda file, flags: os.open(file, flags, mode)) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):  # looked at again: it may have changed while this was written
            os.chmod(beside, stat.S_IMODE(os.stat(target).st_mode))
        if is_newest():
            os.replace(beside, target)  # called at once: no signal handler runs in between
        else:
            os.unlink(beside)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    _sync_folder(folder)


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        each = folder
        while not os.path.exists(each):
            each = os.path.dirname(each)
        if not os.path.isdir(each):
            raise NotADirectoryError(f"{each} is a file, not a folder. Give another path.") from error
        raise


def _text_of(data: dict[str, Any]) -> str:
    """JSON with a line for each record: a person finds their way in it, and it takes a fifth of `indent`'s time."""
    encode = json.JSONEncoder().encode
    lines = []
    for key, value in data.items():
        if isinstance(value, list) and value:
            lines.append(f"{encode(key)}: [\n" + ",\n".join(map(encode, value)) + "\n]")
        else:
            lines.append(f"{encode(key)}: {encode(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _sync_folder(folder: str) -> None:
    with contextlib.suppress(OSError):  # not every system lets a folder be opened; the rename is atomic all the same
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_file(path: str | os.PathLike[str], is_state: Callable[[str], bool]) -> dict[str, Any]:
    """The saved form of a JobState in a file; `is_state` says whether a `_type` is one.

    Raises:
        FileNotFoundError: There is no such file.
        InvalidDataError: It is not the saved form of a JobState; the message names the file and the trouble.
        InvalidTypeError: It is no path.
    """
    _refuse_no_path(path)
    target = os.fspath(path)
    if not os.path.exists(target):
        raise FileNotFoundError(f"JobState file not found: {target}")
    if os.path.isdir(target):
        raise InvalidDataError(f"{target} is not a JobState file: it is a folder. Give the path of a file in it.")
    try:
        # Decoded here: `json` would look for other encodings in it, and import what decodes them.
        with open(target, "rb") as file:
            content = file.read()
        data = json.loads(content.removeprefix(_BYTE_ORDER_MARK).decode("utf-8"))
    except RecursionError:
        raise InvalidDataError(f"{target} is not a JobState file: it is nested too deeply to be read.") from None
    except ValueError as error:  # JSON that is broken or truncated, text that is not UTF-8, numbers beyond all bounds
        raise InvalidDataError(f"{target} is not a JobState file: {error}.") from error
    found = data.get("_type") if isinstance(data, dict) else type(data).__name__
    if not isinstance(data, dict) or not isinstance(found, str) or not is_state(found):
        raise InvalidDataError(f"{target} is not a JobState file: its _type is {shortened(found)}, not 'JobState'.")
    return data
