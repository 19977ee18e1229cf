"""Priorities are numbers with names."""

import pytest

from routilux.priority import TaskPriority


def test_the_smaller_number_comes_first():
    assert (TaskPriority.HIGH, TaskPriority.NORMAL, TaskPriority.LOW) == (1, 2, 3)
    assert TaskPriority.HIGH < TaskPriority.NORMAL < TaskPriority.LOW


def test_a_number_stands_for_its_member():
    assert TaskPriority.of(1) is TaskPriority.HIGH
    assert TaskPriority.of(TaskPriority.LOW) is TaskPriority.LOW


@pytest.mark.parametrize("value", [0, 4, "HIGH", None])
def test_an_unknown_priority_is_refused_with_the_known_ones(value):
    with pytest.raises(ValueError, match=r"HIGH \(1\)") as caught:
        TaskPriority.of(value)
    assert repr(value) in str(caught.value)
    assert "LOW (3)" in str(caught.value)
