"""A deleted customer does not come back with events that were queued before the deletion."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.voucherify_stub.stub import Fault
from tests.function import Function
from tests.scenarios.aws_proxy import AwsProxy, refuse
from tests.worker import Worker, put, stored

DELETE: dict[str, Any] = {"type": "delete", "userId": "u-1", "timestamp": "2026-11-25T00:30:08.276Z"}
DELETION = ("POST", "/v1/customers/u-1/permanent-deletion", None)
HOUR = 60 * 60.0


def identify(name: str, customer: str = "u-1") -> dict[str, Any]:
    return {"type": "identify", "messageId": f"i-{name}", "userId": customer, "traits": {"name": name}}


TRACK: dict[str, Any] = {"type": "track", "messageId": "t-1", "userId": "u-1", "event": "Signed Up"}


@pytest.fixture(autouse=True)
def taken(function: Function) -> None:
    function.put(deleteDisabled="false")


@pytest.fixture
def worker(function: Function) -> Worker:
    worker = Worker(function.aws)
    worker.start_cold()
    return worker


def queue(function: Function, *events: dict[str, Any]) -> None:
    """Post events while Voucherify answers 503 to them."""
    for event in events:
        function.voucherify.next(Fault(503))
        assert function.post(event).status == 202


def work_it_all_off(worker: Worker) -> None:
    while stored("RETRY_QUEUE_URL"):
        worker.time_passes_until_one_is_visible()
        worker.run()


def names(function: Function) -> dict[str, str]:
    return {source_id: customer.get("name", "") for source_id, customer in function.voucherify.customers.items()}


def skip_reasons(function: Function) -> list[dict[str, int]]:
    return [line["skip_reasons"] for line in function.logs if "skip_reasons" in line]


def test_deletion_is_a_call_without_a_body(function: Function) -> None:
    function.post(identify("Ada"))
    answer = function.post(DELETE)
    assert (answer.status, answer.body["delivered"]) == (200, 1)
    assert function.sent[1:] == [DELETION]
    call = function.voucherify.calls[-1]
    assert call.body == b""
    assert "Content-Type" not in call.headers
    assert function.voucherify.customers == {}


def test_deletion_of_an_unknown_customer_is_delivered(function: Function) -> None:
    answer = function.post(DELETE)
    assert function.voucherify.calls[-1].status == 404
    assert (answer.status, answer.body["delivered"]) == (200, 1)


def test_foreign_404_is_no_deletion(function: Function) -> None:
    function.voucherify.next(Fault(404, body=b"nothing here"))
    assert function.post(DELETE).status == 202
    assert [record["failure"]["code"] for record in function.retries] == ["wrong_api_url"]


@pytest.mark.scenario(row=19)
def test_queued_events_do_not_bring_a_customer_back(function: Function, worker: Worker) -> None:
    function.post(identify("Ada"))
    queue(function, identify("Ada King"), TRACK, identify("Bob", "u-2"))
    function.post(DELETE)
    work_it_all_off(worker)
    assert names(function) == {"u-2": "Bob"}
    assert function.voucherify.events == []
    assert skip_reasons(function) == [{"customer_deleted": 2}]
    assert function.dead_letters == []


@pytest.mark.scenario(row=19)
def test_redriven_event_does_not_bring_a_customer_back(function: Function, worker: Worker) -> None:
    queue(function, identify("Ada"))
    worker.time_passes(25 * HOUR)
    function.voucherify.rule = lambda request: Fault(503)
    worker.run()
    function.voucherify.rule = None
    assert len(function.dead_letters) == 1
    function.post(DELETE)
    worker.redrive()
    work_it_all_off(worker)
    assert names(function) == {}


def test_queued_deletion_deletes_in_the_end(function: Function, worker: Worker) -> None:
    function.post(identify("Ada"))
    queue(function, identify("Ada King"), DELETE, TRACK)
    work_it_all_off(worker)
    assert DELETION in function.sent[4:]
    assert names(function).keys() <= {"u-1"}  # the track came after it, and may have been delivered after it
    assert "Ada King" not in names(function).values()


@pytest.mark.scenario(row=19)
def test_customer_can_return_after_the_deletion(function: Function, worker: Worker) -> None:
    queue(function, identify("Ada"))
    function.post(DELETE)
    queue(function, identify("Ada again"))
    work_it_all_off(worker)
    assert names(function) == {"u-1": "Ada again"}


@pytest.mark.parametrize(
    ("events", "failing", "left"),
    [
        ([identify("before"), DELETE], 1, {}),
        ([DELETE, identify("after")], 2, {"u-1": "after"}),
    ],
    ids=["before", "after"],
)
def test_order_within_a_request_counts(
    function: Function, worker: Worker, events: list[dict[str, Any]], failing: int, left: dict[str, str]
) -> None:
    function.post(identify("Ada"))
    function.voucherify.next(*[None] * (failing - 1), Fault(500))
    answer = function.post({"batch": events})  # signed as a whole
    assert (answer.body["delivered"], answer.body["queued"]) == (1, 1)
    work_it_all_off(worker)
    assert names(function) == left


@pytest.mark.scenario(row=19)
def test_late_older_deletion_does_not_undo_a_newer_one(function: Function, worker: Worker) -> None:
    queue(function, DELETE, identify("between"))
    function.post(DELETE)
    work_it_all_off(worker)
    assert names(function) == {}


def test_deletion_stores_one_record_without_the_customers_id(function: Function) -> None:
    function.post({**DELETE, "userId": "ada@example.com"})
    items = function.aws.dynamodb.scan(TableName=function.aws.environment["DEDUPLICATION_TABLE"])["Items"]
    assert len(items) == 1
    assert "ada" not in json.dumps(items)


def test_dynamodb_outage_stops_deletions_and_deliveries(function: Function, worker: Worker, proxy: AwsProxy) -> None:
    queue(function, identify("Ada"))
    called = len(function.sent)
    proxy.rule = refuse("GetItem", "UpdateItem")
    assert function.post(DELETE).status == 202
    worker.time_passes_until_one_is_visible()
    worker.run()
    assert len(function.sent) == called
    assert {record["failure"]["code"] for record in stored("RETRY_QUEUE_URL")} == {
        "voucherify_503",
        "deletions_unknown",
    }
    proxy.rule = None
    work_it_all_off(worker)
    assert names(function) == {}


def test_disabled_deletion_is_skipped_without_a_call_of_dynamodb(
    function: Function, worker: Worker, proxy: AwsProxy
) -> None:
    asked: list[str] = []

    def note(call: Any, forward: Any) -> Any:
        asked.append(call.operation)
        return forward(call)

    proxy.rule = note
    function.put(deleteDisabled="true")
    queue(function, identify("Ada"))
    asked.clear()
    assert function.post(DELETE).body["skipped"] == 1
    assert not [operation for operation in asked if operation.endswith("Item")]


def test_record_without_a_time_zone_is_utc(function: Function, worker: Worker) -> None:
    put(function, identify("Ada"))
    (message,) = function.aws.messages("RETRY_QUEUE_URL")
    body = message["Body"].replace('276Z"', '276"').replace("2026-12", "2026-10")
    function.aws.empty_queues()
    function.aws.sqs.send_message(QueueUrl=function.aws.environment["RETRY_QUEUE_URL"], MessageBody=body)
    function.post(DELETE)
    work_it_all_off(worker)
    assert names(function) == {}
