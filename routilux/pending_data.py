"""Pending tasks in files: what an activation has released is kept as digests."""

import json
from typing import Any

from routilux.digests import blake2b
from routilux.errors import NotPlainError
from routilux.plain import plain, plain_dict

__all__ = ["REQUESTED", "digest", "same_payload", "saved_form"]

# Under this name, the inputs that an activation has asked for stand among what it has released. No event is called so.
REQUESTED = "\0\0request_input"


def saved_form(entry: dict[str, Any], path: str) -> dict[str, Any]:
    """A pending task as JSON has it: what it has released is kept as digests.

    The history has the payloads themselves; a second copy of them would double the file of a wide fan-out.

    Raises:
        NotPlainError: Its data are not JSON.
    """
    released = entry.get("released")
    if not isinstance(released, dict):
        return plain_dict(entry, path, 1)
    # As deep as it stands when it is read: in the list of entries.
    rest = plain_dict({key: value for key, value in entry.items() if key != "released"}, path, 1)
    digests = {
        name: [each if isinstance(each, str) else digest(each, f"{path}['released'][{name!r}]") for each in payloads]
        for name, payloads in released.items()
    }
    return {**rest, "released": plain_dict(digests, f"{path}['released']")}


def digest(payload: Any, path: str) -> str:
    """What stands for a released payload in a file.

    Raises:
        NotPlainError: The payload is not JSON.
    """
    text = json.dumps(plain(payload, path), sort_keys=True)
    return blake2b(text.encode(), digest_size=12).hexdigest()


def same_payload(before: Any, data: dict[str, Any]) -> bool:
    """Whether an emission carries what it carried the first time, as JSON has it; `before` may be its digest."""
    try:
        return digest(data, "data") == (before if isinstance(before, str) else digest(before, "data"))
    except NotPlainError:
        pass
    try:
        return bool(before == data)
    except Exception:  # noqa: BLE001 - live objects of the application, which compare as they please
        return False
