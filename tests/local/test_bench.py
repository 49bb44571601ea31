"""The bench's own arithmetic, its table and its drawings. What it measures no test can say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date
from xml.etree import ElementTree

import pytest

from local.bench import minimal_handler
from local.bench.cold import ColdStart, Import, read_importtime
from local.bench.cost import Cost, seconds_on_lambda
from local.bench.document import files
from local.bench.drawing import drawing
from local.bench.events import identify, proxied, request_for, track
from local.bench.growth import Growth
from local.bench.load import Load
from local.bench.mapping import Mapped, by_hand_to_json, look_up
from local.bench.memory import Artifact, Memory
from local.bench.numbers import Line, Series, constant, interleaved, quantity
from local.bench.report import Results, Row, main_table, table
from local.bench.template import deployed
from local.bench.warm import Warm
from local.stack.system import LocalSystem
from tests.contract.published import assert_published


def test_a_series_has_a_median_a_spread_and_a_ratio_of_neighbours() -> None:
    slowed = Series((10.0, 20.0, 30.0, 40.0))
    assert slowed.median == 25
    assert slowed.spread == pytest.approx((37.5 - 12.5) / 2 / 25)
    assert slowed.over(Series((5.0, 10.0, 15.0, 20.0))) == 2
    assert slowed.over(constant(5)) == 5
    assert constant(5).spread == 0


def test_measures_take_turns_and_the_first_round_is_forgotten() -> None:
    taken: list[float] = []

    def measure(sign: int) -> Callable[[], float]:
        def take() -> float:
            taken.append(sign * (len(taken) + 1))
            return taken[-1]

        return take

    ours, floor = interleaved(2, measure(1), measure(-1))
    assert taken == [1, -2, 3, -4, 5, -6]
    assert (ours.values, floor.values) == ((3, 5), (-4, -6))


def test_a_line_goes_through_what_is_straight_and_is_far_from_what_is_not() -> None:
    straight = [(size, 3 + 2 * size) for size in (1, 10, 4_000)]
    line = Line.through(straight)
    assert line.fixed == pytest.approx(3)
    assert line.each == pytest.approx(2)
    assert line.deviation(straight) == pytest.approx(0)
    squares = [(size, float(size**2)) for size in (1, 10, 100)]
    assert Line.through(squares).deviation(squares) > 0.5


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.34, "s", "12.3 s"),
        (0.0999, "s", "99.9 ms"),
        (0.4, "s", "400 ms"),
        (0.00002, "s", "20.0 µs"),
        (0.0, "s", "0.00 µs"),
        (1_258_338, "bytes", "1.26 MB"),
        (99.96e6, "bytes", "100 MB"),
        (1_234e6, "bytes", "1,234 MB"),
    ],
)
def test_a_quantity_has_three_digits(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_columns_stand_below_each_other() -> None:
    lines = table(("what", "±"), [("a row", "1%")]).splitlines()
    assert lines == ["| what  | ±   |", "| ----- | --- |", "| a row | 1%  |"]


def test_a_row_says_whether_its_aim_is_met() -> None:
    row = Row("cold start", "nothing", "s", Series((3.0, 3.0, 3.3)), constant(2), "≤ 2", is_met=True)
    assert row.cells == ["cold start", "3.00 s", "nothing", "2.00 s", "1.50", "≤ 2", "met", "5%"]


def test_the_plain_code_makes_what_the_mapping_makes() -> None:
    request = request_for(identify(1))
    assert request.body
    assert_published(request.path, request.body)
    assert by_hand_to_json(identify(1)) == request.to_json()
    assert None not in look_up(identify(1))


def test_the_minimal_handler_delivers(system: LocalSystem) -> None:
    events = (identify(1), track(1))
    answers = [minimal_handler.lambda_handler(proxied([event], is_batch=False), None) for event in events]
    assert [json.loads(answer["body"]) for answer in answers] == [{"delivered": 1}] * 2
    assert list(system.voucherify.customers) == ["customer-1"]
    assert len(system.voucherify.events) == 1


def test_importtime_is_read() -> None:
    head = b"import time: self [us] | cumulative | imported package\n"
    assert read_importtime(head + b"import time:       120 |        350 |   urllib3.util\n") == {
        "urllib3.util": (120e-6, 350e-6)
    }


def test_a_cost_is_its_services_and_the_ledger_comes_on_top() -> None:
    cost = Cost(batch=10, seconds=0.2, memory_mb=1_024)
    assert cost.by_service["API Gateway"] == pytest.approx(0.1)
    assert cost.by_service["Lambda, time"] == pytest.approx(100_000 * 0.2 * 0.0000133334)
    assert cost.tracks - cost.identifies == pytest.approx(1.25)


def test_less_memory_is_less_of_a_core() -> None:
    assert seconds_on_lambda(wall=2, cpu=1, memory_mb=1_769) == 2
    assert seconds_on_lambda(wall=2, cpu=1, memory_mb=3_538) == 2
    assert seconds_on_lambda(wall=2, cpu=1, memory_mb=1_769 // 2) == pytest.approx(3, abs=0.01)


def test_the_template_says_what_is_deployed() -> None:
    assert deployed("MemorySize") >= 128
    with pytest.raises(ValueError, match="has no Memory"):
        deployed("Memory")


def test_a_drawing_has_every_point_and_its_text_escaped() -> None:
    svg = ElementTree.fromstring(drawing("Mine < yours", "event", {"CPU": [(1, 0.001), (100, 0.1), (4_000, 5)]}))
    names = {"svg": "http://www.w3.org/2000/svg"}
    assert len(svg.findall("svg:circle", names)) == 3
    assert svg.findtext("svg:title", "", names) == "Mine < yours"
    assert len(svg.findall("svg:polyline", names)) == 1


@pytest.fixture
def results() -> Results:
    one, load = constant(1), Load(constant(1), constant(1), 3_000, 1_000)
    warm = Warm(one, one)
    imports = (Import("urllib3.util", 0.5, 0.5), Import("json", 0.1, 0.1), Import("urllib3", 0.2, 0.7))
    return Results(
        cold=ColdStart(one, one, imports),
        identify=warm,
        track=warm,
        guarded_track=warm,
        batched=warm,
        mapped=Mapped(one, one, one, one, one),
        thousand=load,
        half_stored=load,
        worked_off=load,
        memory=Memory(one, one, one, one),
        artifact=Artifact(1, 2),
        costs=[Cost(1, 0.1, 1_024), Cost(10, 0.2, 1_024)],
        growths=[
            Growth("events", "One request", "event", {"CPU": [(1, 1), (10, 10)], "wall time": [(1, 1), (10, 99)]})
        ],
    )


def test_the_document_has_the_table_and_shows_every_drawing(results: Results) -> None:
    written = dict(files(results, date(2026, 12, 2)))
    document = written.pop("performance.md")
    assert main_table(results) in document
    assert "2 December 2026" in document
    assert re.search(r"^\| `urllib3.util` +\| 500 ms +\| 500 ms +\|$", document, re.MULTILINE)
    assert set(re.findall(r"!\[.*\]\((.*)\)", document)) == written.keys() == {"performance-events.svg"}


def test_the_modules_of_a_package_count_together(results: Results) -> None:
    assert results.cold
    assert results.cold.by_package() == {"urllib3": 0.7, "Python's own": 0.1}
    assert [found.name for found in results.cold.costliest(2)] == ["urllib3.util", "urllib3"]
