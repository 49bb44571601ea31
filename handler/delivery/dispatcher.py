"""The dispatcher: tasks in parallel, tasks of one key in their order, until the deadline.

It knows nothing of events, of HTTP or of Voucherify.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol, TypeVar

from handler.model.deadline import Deadline
from handler.threads import GivenUp, Threads

# A task may notice by itself that its time is up, for so long after the deadline; then it is given up.
GRACE_SECONDS = 0.05

# A task that was given up may record its result for so long after the deadline.
SETTLE_SECONDS = 0.3

R = TypeVar("R")


class Task(Protocol[R]):
    """One piece of work. `run` is called in a thread, the others in the thread of the dispatcher."""

    @property
    def key(self) -> str:
        """Tasks of one key run one after the other."""

    def run(self, deadline: Deadline) -> R:
        """Return the result. Raises GivenUp after `give_up` was called."""

    def failed(self, error: Exception) -> R:
        """Return the result of a run that raised an error."""

    def give_up(self) -> None:
        """End the run: nobody waits for it any more."""

    def conclude(self, result: R | None) -> R:
        """Return the result of a task that was given up; `result` is that of its run, where it ended all the same."""


class Dispatcher:
    """Runs tasks on the threads of one project."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def dispatch(self, tasks: Sequence[Task[R]], deadline: Deadline) -> list[R]:
        """Return the result of each task, in the order of the tasks, at most SETTLE_SECONDS after the deadline."""
        chains: dict[str, list[int]] = {}
        for place, task in enumerate(tasks):
            chains.setdefault(task.key, []).append(place)
        results: dict[int, R] = {}
        started = self._threads.start(
            [partial(_run_in_order, tasks, chain, results, deadline) for chain in chains.values()]
        )
        started.wait(deadline.later(GRACE_SECONDS))
        late = [place for place in range(len(tasks)) if place not in results]
        for place in late:
            tasks[place].give_up()
        started.wait(deadline.later(SETTLE_SECONDS))
        started.results()
        concluded = {place: tasks[place].conclude(results.get(place)) for place in late}
        return [concluded[place] if place in concluded else results[place] for place in range(len(tasks))]


def _run_in_order(tasks: Sequence[Task[R]], chain: Sequence[int], results: dict[int, R], deadline: Deadline) -> None:
    for place in chain:
        try:
            results[place] = tasks[place].run(deadline)
        except GivenUp:
            return
        except Exception as error:
            results[place] = tasks[place].failed(error)
