"""The incidents that can be rehearsed, as data. `staging` puts one in place; docs/runbook.md has the way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from local.stack.system import API_TOKEN
from local.voucherify_stub.metadata import metadata_schema
from local.voucherify_stub.schemas import Json
from local.voucherify_stub.stub import Fault, RateLimit

EVENT_NAME = "Order Completed"


@dataclass(frozen=True)
class Incident:
    """What goes wrong, and what an operator learns of it.

    `alarm` is the alarm in template.yaml that fires, and links to the section of the runbook. `code` is the reason code
    of the waiting events, which chooses among the fixes of that section. Every incident is over when all its events are
    in Voucherify and both queues are empty.
    """

    name: str
    happened: str
    alarm: str
    code: str

    # What goes wrong.
    settings: tuple[Mapping[str, str], ...] = ()  # written one after the other, as versions
    voucherify: Fault | None = None  # the answer to every call
    plan: RateLimit | None = None
    metadata_schemas: tuple[Json, ...] = ()
    dynamodb_seconds: float = 0.0  # by which DynamoDB answers late

    events: int = 5
    hours: int = 0  # for which the events wait before the retry worker tries them and the alarm fires

    recovery: str = ""  # what ends it without the operator, after an hour at most
    values: Mapping[str, str] = field(default_factory=dict)  # of placeholders in the commands of the runbook
    answer: str = ""  # what the operator types where a command asks


INCIDENTS = (
    Incident(
        "voucherify-down",
        "Voucherify answers every call with 503",
        alarm="RetryAgeAlarm",
        code="voucherify_503",
        voucherify=Fault(503),
        hours=7,
        recovery="Voucherify answers again",
    ),
    Incident(
        "keys-refused",
        "The Secret Key was rotated in Voucherify, and the old one was set again",
        alarm="CredentialsRefusedAlarm",
        code="credentials_refused",
        settings=({"apiToken": "rotated-secret-key"},),
        answer=API_TOKEN,
    ),
    Incident(
        "rate-limited",
        "More events come than the plan has calls: 20 events, and 5 calls an hour",
        alarm="RetryAgeAlarm",
        code="rate_limited",
        plan=RateLimit(5, 60 * 60),
        events=20,
        hours=7,
    ),
    Incident(
        "plan-used-up",
        "The plan's calls of this billing cycle are used up",
        alarm="PlanUsedUpAlarm",
        code="plan_used_up",
        voucherify=Fault(402),
        recovery="the organisation has a larger plan",
    ),
    Incident(
        "bad-mapping",
        "A mapping with a missing quote was saved in the AWS console, and new execution environments started",
        alarm="SettingsUnusableAlarm",
        code="faulty_settings",
        settings=(
            {"trackMapping": '{"properties.total": "metadata.total"}'},
            {"trackMapping": '{"properties.total": "metadata.total}'},
        ),
        values={"SETTING": "trackMapping"},
    ),
    Incident(
        "rejected-events",
        f"The project's schema for {EVENT_NAME} requires order_id, which the mapping does not send",
        alarm="DeadLettersAlarm",
        code="voucherify_400",
        metadata_schemas=(metadata_schema(EVENT_NAME, order_id={"type": "string", "optional": False}),),
        values={"FILE": "events/presets/order_completed.json"},
    ),
    Incident(
        "slow-dynamodb",
        "DynamoDB answers after two seconds, and the function waits for one",
        alarm="UndecidedAlarm",
        code="deliveries_unknown",
        dynamodb_seconds=2.0,
        hours=1,
        recovery="DynamoDB answers within milliseconds again",
    ),
)


def event(incident: Incident, number: int) -> dict[str, object]:
    """Return one of the events of an incident, each of another customer."""
    return {
        "type": "track",
        "messageId": f"{incident.name}-{number}",
        "userId": f"customer-{number}",
        "event": EVENT_NAME,
        "properties": {"order_id": f"order-{number}", "total": 27.5, "currency": "EUR"},
    }
