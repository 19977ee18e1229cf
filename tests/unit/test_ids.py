"""Ids are UUIDs that nobody else has."""

import os
import uuid
from threading import Thread

import pytest

from routilux import ids
from routilux.ids import new_id


def test_an_id_is_a_uuid_of_version_4_as_python_writes_it():
    for _ in range(1000):
        found = new_id()
        assert str(uuid.UUID(found)) == found
        assert (uuid.UUID(found).version, uuid.UUID(found).variant) == (4, uuid.RFC_4122)


def test_several_threads_never_get_one_id():
    found: list[str] = []
    threads = [Thread(target=lambda: found.extend(new_id() for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_ids_of_its_own_whoever_held_the_lock():
    new_id()
    reader, writer = os.pipe()
    with ids._lock:  # noqa: SLF001 - another thread asks for an id in this moment
        pid = os.fork()
        if pid == 0:
            os.write(writer, new_id().encode())
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 36).decode() not in {new_id() for _ in range(300)}
    os.close(reader)
    os.close(writer)
