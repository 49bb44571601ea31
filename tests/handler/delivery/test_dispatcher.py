"""The dispatcher, with tasks that know nothing of events: each waits for the events that its test sets."""

from __future__ import annotations

import threading
from collections.abc import Callable

from handler.delivery.dispatcher import Dispatcher
from handler.model.deadline import Deadline
from handler.threads import GivenUp, Threads

PATIENCE_SECONDS = 60  # no test waits for so long


class Task:
    """A task whose run is a function; its result is a text."""

    def __init__(self, key: str, run: Callable[[], str], on_give_up: Callable[[], None] = lambda: None) -> None:
        self.key = key
        self._run = run
        self._on_give_up = on_give_up

    def run(self, deadline: Deadline) -> str:
        return self._run()

    def failed(self, error: Exception) -> str:
        return f"failed: {error}"

    def give_up(self) -> None:
        self._on_give_up()

    def conclude(self, result: str | None) -> str:
        return f"given up, {result}"


def dispatch(*tasks: Task, seconds: float = PATIENCE_SECONDS, threads: int = 4) -> list[str]:
    return Dispatcher(Threads(threads)).dispatch(tasks, Deadline.after(seconds))


def wait_for(event: threading.Event) -> None:
    assert event.wait(PATIENCE_SECONDS)


def test_no_tasks_have_no_results() -> None:
    assert dispatch() == []


def test_results_are_in_the_order_of_the_tasks() -> None:
    assert dispatch(*(Task(key, lambda key=key: key) for key in "abc"), threads=1) == ["a", "b", "c"]  # type: ignore[misc]


def test_tasks_of_different_keys_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=PATIENCE_SECONDS)

    def meet() -> str:
        barrier.wait()
        return "met"

    assert dispatch(*(Task(key, meet) for key in "abc")) == ["met"] * 3


def test_tasks_of_one_key_run_in_their_order() -> None:
    order: list[int] = []

    def note(number: int) -> Callable[[], str]:
        def run() -> str:
            order.append(number)
            return str(number)

        return run

    assert dispatch(*(Task("a", note(number)) for number in range(20))) == [str(number) for number in range(20)]
    assert order == list(range(20))


def test_a_failed_task_leaves_the_tasks_behind_it_alone() -> None:
    def fail() -> str:
        raise ValueError("no")

    assert dispatch(Task("a", fail), Task("a", lambda: "done")) == ["failed: no", "done"]


def test_a_late_task_is_given_up_and_the_tasks_behind_it_never_run() -> None:
    given_up = threading.Event()

    def run() -> str:
        wait_for(given_up)
        raise GivenUp

    late = Task("a", run, on_give_up=given_up.set)
    behind = Task("a", lambda: "must not run")
    assert dispatch(late, behind, seconds=0.0) == ["given up, None", "given up, None"]


def test_a_task_that_ends_after_it_was_given_up_is_concluded_with_its_result() -> None:
    given_up = threading.Event()
    now = 0.0

    def run() -> str:
        wait_for(given_up)
        return "answered"

    def give_up() -> None:
        nonlocal now
        now -= PATIENCE_SECONDS  # from here on the deadline is far away, however slow the machine is
        given_up.set()

    task = Task("a", run, on_give_up=give_up)
    assert Dispatcher(Threads(1)).dispatch([task], Deadline(0.0, lambda: now)) == ["given up, answered"]


def test_a_task_that_never_ends_holds_up_neither_this_dispatch_nor_the_next() -> None:
    released = threading.Event()

    def run() -> str:
        wait_for(released)
        return "too late"

    dispatcher = Dispatcher(Threads(1))
    assert dispatcher.dispatch([Task("a", run)], Deadline.after(0.0)) == ["given up, None"]
    assert dispatcher.dispatch([Task("a", lambda: "done")], Deadline.after(PATIENCE_SECONDS)) == ["done"]
    released.set()
