"""How long metadata schemas are kept, and when they are read again."""

from __future__ import annotations

from handler.model.deadline import Deadline
from handler.model.failure import OUT_OF_TIME, Failure
from handler.voucherify.metadata_schemas import KnownSchemas as Known
from handler.voucherify.metadata_schemas import SchemaCache
from mapping import MetadataSchemas, Operation, Request

NUMBER = {"related_object": "customer", "properties": {"age": {"type": "number", "optional": True, "array": False}}}
IDENTIFY = Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {"metadata": {"age": "36"}}, "c")


class Reads:
    """Reads schemas, and counts how often."""

    def __init__(self) -> None:
        self.count = 0
        self.result: Known | Failure = Known(MetadataSchemas.read({"schemas": [NUMBER]}))

    def __call__(self) -> Known | Failure:
        self.count += 1
        return self.result


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def age_in(request: Request) -> object:
    assert request.body
    return request.body["metadata"]["age"]


def test_schemas_are_kept_for_an_hour() -> None:
    clock, read = Clock(), Reads()
    cache = SchemaCache(clock)
    assert age_in(cache.fit(IDENTIFY)) == "36", "nothing is known yet"
    cache.after_refusal(read, Deadline.after(1))
    clock.now += 3599
    assert age_in(cache.fit(IDENTIFY)) == 36
    clock.now += 1
    assert age_in(cache.fit(IDENTIFY)) == "36"


def test_refusals_read_them_again_after_ten_minutes() -> None:
    clock, read = Clock(), Reads()
    cache = SchemaCache(clock)
    for seconds, reads in ((0, 1), (599, 1), (1, 2), (0, 2)):
        clock.now += seconds
        assert cache.after_refusal(read, Deadline.after(1)) is read.result
        assert read.count == reads


def test_failure_is_not_kept() -> None:
    cache, read = SchemaCache(Clock()), Reads()
    read.result = OUT_OF_TIME
    assert cache.after_refusal(read, Deadline.after(1)) is OUT_OF_TIME
    assert cache.after_refusal(read, Deadline.after(1)) is OUT_OF_TIME
    assert read.count == 2
