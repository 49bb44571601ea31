"""The bench's arithmetic, its tables and its document. No test measures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date

import pytest

from local.bench import minimal_handler
from local.bench.cold_start import ColdStart, imports_section, read_importtime
from local.bench.cost import IDENTIFY, TRACK, cost, cost_section, seconds_on_lambda
from local.bench.events import identify, proxied, request_for, track
from local.bench.growth import growth_table
from local.bench.load import Load
from local.bench.mapping import Mapped, by_hand_to_json, look_up
from local.bench.numbers import interleaved, quantity, ratio, spread
from local.bench.report import Row, main_table, paragraph, table
from local.bench.run import Results, sections
from local.bench.template import deployed
from local.stack.system import LocalSystem
from tests.contract.published import assert_published


def test_a_series_has_a_spread_and_a_ratio_of_neighbours() -> None:
    slowed = (10.0, 20.0, 30.0, 40.0)
    assert spread(slowed) == pytest.approx((37.5 - 12.5) / 2 / 25)
    assert ratio(slowed, (5.0, 10.0, 15.0, 20.0)) == 2
    assert ratio(slowed, (5.0,)) == 5
    assert spread((5.0,)) == 0


def test_measures_take_turns_and_the_first_round_is_not_counted() -> None:
    taken: list[float] = []

    def measure(sign: int) -> Callable[[], float]:
        def take() -> float:
            taken.append(sign * (len(taken) + 1))
            return taken[-1]

        return take

    assert interleaved(2, measure(1), measure(-1)) == [(3, 5), (-4, -6)]
    assert taken == [1, -2, 3, -4, 5, -6]


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


def test_the_columns_of_a_table_are_aligned() -> None:
    lines = table(("what", "±"), [("a row", "1%")]).splitlines()
    assert lines == ["| what  | ±   |", "| ----- | --- |", "| a row | 1%  |"]


def test_a_row_says_whether_its_aim_is_met() -> None:
    row = Row.times("cold start", (3.0, 3.0, 3.3), "nothing", (2.0,), most=2)
    assert row.cells == ["cold start", "3.00 s", "nothing", "2.00 s", "1.50", "≤ 2", "met", "5%"]
    assert Row.size("zip", (2e6,), most=1e6).cells == ["zip", "2.00 MB", "", "", "", "≤ 1.00 MB", "missed", ""]


def test_growth_is_shown_by_size_and_for_each_one() -> None:
    all_, each = growth_table("events", {1: 0.002, 1_000: 1.0}).splitlines()[2:]
    assert re.split(r" *\| *", all_) == ["", "all", "2.00 ms", "1.00 s", ""]
    assert re.split(r" *\| *", each) == ["", "each", "2.00 ms", "1.00 ms", ""]


def test_a_list_item_is_indented() -> None:
    assert paragraph("- a\n   b " + "c" * 118) == "- a b\n  " + "c" * 118


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


def test_a_cost_is_the_sum_of_its_services_and_idempotency_comes_on_top() -> None:
    found = cost(batch=10, seconds=0.2, memory_mb=1_024)
    assert found["API Gateway"] == pytest.approx(0.1)
    assert found["Lambda, time"] == pytest.approx(100_000 * 0.2 * 0.0000133334)
    assert found[TRACK] - found[IDENTIFY] == pytest.approx(1.25)
    document = "\n".join(cost_section({1: Load((0.1,), (0.01,), 1, 0), 100: Load((0.9,), (0.1,), 100, 0)}))
    assert re.search(r"^\| USD for a million events +\| 1 +\| 100 +\|$", document, re.MULTILINE)


def test_less_memory_is_less_of_a_core() -> None:
    assert seconds_on_lambda(wall=2, cpu=1, memory_mb=1_769) == 2
    assert seconds_on_lambda(wall=2, cpu=1, memory_mb=3_538) == 2
    assert seconds_on_lambda(wall=2, cpu=1, memory_mb=1_769 // 2) == pytest.approx(3, abs=0.01)


def test_the_template_says_what_is_deployed() -> None:
    assert deployed("MemorySize") >= 128
    with pytest.raises(ValueError, match="has no Memory"):
        deployed("Memory")


def test_the_document_has_the_main_table_and_the_costliest_imports() -> None:
    one = (1.0,)
    imports = {"urllib3.util": (0.5, 0.5), "json": (0.3, 0.3), "urllib3": (0.2, 0.7)}
    row = Row.times("cold start", one, "nothing", one)
    results = Results(
        rows=[row],
        cold=ColdStart(one, one, imports),
        mapped=Mapped(one, one, one, one, one),
        half_stored=Load(one, one, 3_000, 1_000),
    )
    document = "\n".join(sections(results, date(2026, 12, 2)))
    assert main_table([row]) in document
    assert "2 December 2026" in document
    assert "\n".join(imports_section(imports)) in document
    assert re.search(r"^\| `urllib3.util` +\| 500 ms +\| 500 ms +\|$", document, re.MULTILINE)
    assert re.search(r"^\| urllib3 +\| 700 ms +\| 70% +\|$", document, re.MULTILINE)
    assert re.search(r"^\| Python's own +\| 300 ms +\| 30% +\|$", document, re.MULTILINE)
