"""Our classes in serilux's registry, and the fields that they save."""

import pytest
import serilux

from routilux import ExecutionRecord, Flow, JobState, Routine, builtin_routines
from routilux.errors import RegisteredNameError
from routilux.registration import BUILTIN_NAMES, registered, registered_class

pytestmark = pytest.mark.usefixtures("forgotten_registrations")


def test_a_registered_class_is_known_to_serilux():
    @registered
    class OursAlone(serilux.Serializable):
        pass

    assert serilux.SerializableRegistry.get_class("OursAlone") is OursAlone
    assert registered(OursAlone) is OursAlone


def test_a_name_that_is_taken_is_an_error_that_names_both():
    @registered
    class Shared(serilux.Serializable):
        pass

    other = type("Shared", (serilux.Serializable,), {"__module__": "routilux.somewhere"})
    with pytest.raises(RegisteredNameError, match=r"routilux\.somewhere\.Shared") as caught:
        registered(other)
    assert f"{__name__}." in str(caught.value)
    assert serilux.SerializableRegistry.get_class("Shared") is Shared


@pytest.mark.parametrize("cls", [Routine, Flow, JobState, ExecutionRecord])
def test_a_field_that_one_object_adds_is_saved_by_that_object_only(cls):
    one, other = cls(), cls()
    one.add_serializable_fields(["mine"])
    assert "mine" in one.fields_to_serialize
    assert "mine" not in other.fields_to_serialize
    assert "mine" not in cls().fields_to_serialize


def test_an_application_registers_its_own_routines():
    @serilux.register_serializable
    class MyOwnRoutine(Routine):
        pass

    assert serilux.SerializableRegistry.get_class("MyOwnRoutine") is MyOwnRoutine


def test_the_builtins_that_are_found_by_name_are_all_that_there_are():
    assert sorted(BUILTIN_NAMES) == sorted(builtin_routines.__all__)
    assert {name: registered_class(name) for name in BUILTIN_NAMES} == {
        name: getattr(builtin_routines, name) for name in BUILTIN_NAMES
    }


def test_a_name_that_nobody_registered_has_no_class():
    assert registered_class("routilux.builtin_routines") is None
    assert registered_class("") is None
