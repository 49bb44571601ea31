"""The request that tracks a custom event.

Source: https://docs.voucherify.io/reference/track-custom-event
"""

from __future__ import annotations

from typing import Any

from mapping.customer import complete_customer, customer_key
from mapping.errors import UnmappableEvent
from mapping.request import LeftOut, Request
from mapping.rules import Rules, apply_rules
from mapping.segment import Event
from mapping.values import Unfit, to_event_name

_OPTIONAL_PARTS = ("metadata", "loyalty", "referral")
_NEED_A_CODE = ("loyalty", "referral")


def custom_event_request(event: Event, rules: Rules) -> Request:
    """track: `POST /v1/events` with `{event, customer, metadata?, loyalty?, referral?}`.

    Raises UnmappableEvent where nothing says whose event it is, or where its name is unfit: under another name it
    could grant another reward.
    """
    body, left_out = apply_rules(rules, event.fields)
    customer = complete_customer(body, event, "properties")
    for part in _NEED_A_CODE:
        if "code" not in body.get(part, {"code": ""}):
            del body[part]
            left_out.append(LeftOut("", part, "has no code"))
    return Request(
        method="POST",
        path="/v1/events",
        body={
            "event": _event_name(body, left_out, event),
            "customer": customer,
            **{part: body[part] for part in _OPTIONAL_PARTS if part in body},
        },
        customer=customer_key(customer),
        idempotent=False,
        left_out=(*event.left_out, *left_out),
    )


def _event_name(body: dict[str, Any], left_out: list[LeftOut], event: Event) -> str:
    for unfit in left_out:
        if unfit.destination == "event":
            raise UnmappableEvent("invalid_event_name", unfit.source, unfit.reason)
    if "event" in body:
        mapped: str = body["event"]
        return mapped
    try:
        return to_event_name(event.fields.get("event", event.type))
    except Unfit as unfit:
        raise UnmappableEvent("invalid_event_name", "event", str(unfit)) from unfit
