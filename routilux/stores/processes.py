"""Processes: a driver's process in words that another process of the same machine can check."""

import contextlib
import os
import socket

__all__ = ["is_gone", "new_driver_name", "this_process"]

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NAMESPACE = "/proc/self/ns/pid"


def new_driver_name() -> str:
    """A name that no other driver has, and from which a person sees where to look."""
    return f"{socket.gethostname()}/{os.getpid()}/{os.urandom(6).hex()}"


def this_process() -> str:
    """What `is_gone` needs to know about this process; "" where the system has no /proc."""
    try:
        return f"{_place()} {os.getpid()} {_started(os.getpid())}"
    except OSError:
        return ""


def is_gone(process: str) -> bool:
    """Whether it is proved that a process, as `this_process` told of it, exists no more.

    It is proved only on the machine of that process, since its last boot, and where its number means the same process
    (in the same pid namespace). Everywhere else a lease has to run out.
    """
    place, _, rest = process.partition(" ")
    try:
        if not place or place != _place():
            return False
        number, _, started = rest.partition(" ")
        if not started.isdigit():
            return False
        try:
            os.kill(int(number), 0)  # not a look into /proc: some systems hide other users' processes there
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return _started(int(number)) != started or _is_zombie(int(number))
    except (OSError, ValueError):
        return False


def _place() -> str:
    """The machine since its last boot, and the namespace in which its processes are numbered."""
    with open(_BOOT_ID, encoding="ascii") as file:
        return f"{file.read().strip()}/{os.stat(_NAMESPACE).st_ino}"


def _fields(number: int) -> list[str]:
    """The fields of /proc/N/stat from the third on: the second is the program's name, which may hold anything."""
    with open(f"/proc/{number}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def _started(number: int) -> str:
    return _fields(number)[19]


def _is_zombie(number: int) -> bool:
    """Whether it was killed, and nobody has asked for its exit status yet.

    A process whose first thread has ended looks the same, but has further threads.
    """
    if _fields(number)[0] not in "ZX":
        return False
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{number}/task")) <= 1
    return False
