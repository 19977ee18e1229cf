"""A task is one delivery on its way to a slot."""

from datetime import datetime

from routilux import Connection, JobState, Routine, Slot
from routilux.flow import SlotActivationTask, TaskPriority


def test_a_task_has_defaults():
    slot, data = Slot("input"), {"n": 1}
    before = datetime.now()
    task = SlotActivationTask(slot, data)
    assert (task.slot, task.data, task.connection, task.job_state) == (slot, data, None, None)
    assert (task.priority, task.retry_count, task.max_retries) == (TaskPriority.NORMAL, 0, 0)
    assert before <= task.created_at <= datetime.now()
    assert task.created_at == task.created_at


def test_a_task_keeps_what_it_is_given_in_this_order():
    slot, connection, job_state = Slot("input"), Connection(), JobState()
    task = SlotActivationTask(slot, {}, connection, TaskPriority.HIGH, 1, 2, 12.5, job_state)
    assert (task.connection, task.priority, task.retry_count, task.max_retries) == (connection, TaskPriority.HIGH, 1, 2)
    assert (task.created_at, task.job_state) == (12.5, job_state)


def test_a_task_may_be_given_by_names():
    at = datetime(2025, 1, 15)
    task = SlotActivationTask(slot=Slot("input"), data={}, connection=None, job_state=None, created_at=at)
    assert task.created_at == at


def test_tasks_compare_by_priority():
    def task(priority: TaskPriority) -> SlotActivationTask:
        return SlotActivationTask(Slot("input"), {}, priority=priority)

    assert task(TaskPriority.HIGH) < task(TaskPriority.NORMAL) < task(TaskPriority.LOW)
    assert not task(TaskPriority.NORMAL) < task(TaskPriority.NORMAL)
    tasks = [task(TaskPriority.LOW), task(TaskPriority.HIGH), task(TaskPriority.NORMAL)]
    assert [each.priority for each in sorted(tasks)] == [1, 2, 3]


def test_a_task_says_where_it_goes():
    routine = Routine()
    routine._id = "worker"
    task = SlotActivationTask(routine.define_slot("input"), {"n": 1}, priority=TaskPriority.HIGH)
    assert "worker.input" in repr(task)
    assert "HIGH" in repr(task)
    assert "n" in repr(task)
