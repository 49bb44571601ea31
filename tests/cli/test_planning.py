"""The model behind `plan`: beside the function itself in a soak, and what it must keep to."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

from cli.planning import deployment
from cli.planning.events import IDENTIFY, ORDER, TRACK, Mix, Phase
from cli.planning.figures import Figures
from cli.planning.model import simulate
from cli.planning.voucherify import Limit
from cli.planning.world import Setup
from local.bench.template import deployed
from local.soak.modelled import modelled, recorded
from local.soak.run import Measured

SMALL_PLAN = Limit(20, 60)
MIX = Mix({IDENTIFY: 0.4, TRACK: 0.5, ORDER: 0.1}, customers=1_000)


def at_once(rate: float, setup: Setup, seconds: float = 60, most_seconds: float = 7_200) -> Figures:
    return simulate(setup, MIX.arrivals([Phase(seconds, rate)]), most_seconds=most_seconds)


@pytest.mark.parametrize("soak", recorded(), ids=lambda soak: f"{soak.limit}-{soak.window_seconds}s-{soak.workers}")
def test_the_model_is_within_a_tenth_of_what_the_function_did_in_a_soak(soak: Measured) -> None:
    found = modelled(soak)
    assert found.calls == pytest.approx(soak.calls, rel=0.1)
    assert found.drained_in == pytest.approx(soak.drained_in, rel=0.1)
    assert found.refused / found.calls == pytest.approx(soak.refused / soak.calls, abs=0.01)


def test_every_event_is_delivered_in_the_end_and_none_dies() -> None:
    found = at_once(5.0, Setup(SMALL_PLAN))
    assert found.accepted == found.delivered
    assert found.left == found.dead == 0
    assert found.stored > found.accepted / 2
    assert found.most_waiting <= found.stored


def test_what_is_left_at_the_end_is_extrapolated() -> None:
    whole = at_once(5.0, Setup(SMALL_PLAN))
    half = at_once(5.0, Setup(SMALL_PLAN), most_seconds=whole.drained_in() / 2)
    assert half.left > 0
    assert half.drained_in() == pytest.approx(whole.drained_in(), rel=0.3)


def test_no_more_than_the_share_of_a_window_is_used() -> None:
    found = at_once(5.0, Setup(SMALL_PLAN, share=50))
    first, *others = (found.calls_by_minute[minute] for minute in sorted(found.calls_by_minute))
    assert first <= 10 + 2  # of environments that do not know of each other yet
    assert max(others) == 10


def test_execution_environments_that_share_what_they_know_are_hardly_refused() -> None:
    alone, shared = (
        at_once(10.0, Setup(SMALL_PLAN, environments=50, is_shared=is_shared), seconds=180, most_seconds=180)
        for is_shared in (False, True)
    )
    assert alone.share_refused > 0.5
    assert shared.share_refused < alone.share_refused / 2


def test_a_budget_for_the_day_is_kept_and_the_events_wait() -> None:
    found = at_once(1.0, Setup(Limit(2_000, 60), calls_per_day=50), seconds=120)
    assert found.calls.total() <= 50
    assert found.dead == 0
    assert found.left > 0


def test_a_backlog_of_identifies_takes_few_calls() -> None:
    mix = Mix({IDENTIFY: 1.0}, customers=100_000)
    found = simulate(Setup(Limit(100, 60)), mix.arrivals([Phase(10, 300.0)]), most_seconds=3_600)
    assert found.left == 0
    assert found.calls.total() < found.accepted / 5


def test_the_same_seed_is_the_same_simulation() -> None:
    first, second = (at_once(2.0, Setup(SMALL_PLAN)) for _ in range(2))
    assert first == second


def test_requests_come_at_the_rate_of_their_phase() -> None:
    mix = Mix({TRACK: 1.0}, customers=10, batch=5)
    arrivals = list(mix.arrivals([Phase(100, 0.0), Phase(1_000, 10.0)]))
    assert sum(len(one.events) for one in arrivals) == pytest.approx(10_000, rel=0.1)
    assert 100 <= arrivals[0].at <= arrivals[-1].at < 1_100
    assert all(one.at <= other.at for one, other in itertools.pairwise(arrivals))


def test_the_deployed_values_are_those_of_the_template() -> None:
    parameters = yaml_parse((Path(__file__).parents[2] / "template.yaml").read_text("utf-8"))["Parameters"]
    assert deployed("BatchSize") == deployment.BATCH_SIZE
    assert deployed("MaximumBatchingWindowInSeconds") == deployment.BATCHING_WINDOW_SECONDS
    assert deployed("maxReceiveCount") == deployment.MAX_RECEIVES
    assert deployed("MemorySize") == deployment.MEMORY_GB * 1_024
    assert parameters["RetryConcurrency"]["Default"] == deployment.RETRY_CONCURRENCY
    assert parameters["RequestsPerSecond"]["Default"] == deployment.REQUESTS_PER_SECOND
    assert deployment.ENVIRONMENT.response_budget_seconds == parameters["ResponseBudgetSeconds"]["Default"]
    assert deployment.ENVIRONMENT.voucherify_concurrency == parameters["VoucherifyConcurrency"]["Default"]
    assert deployment.ENVIRONMENT.retry_hours == parameters["RetryHours"]["Default"]
