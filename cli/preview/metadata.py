"""What the project's metadata schemas change in a request."""

from __future__ import annotations

import json
from typing import Any

from cli.preview.comparison import fields_of
from mapping import MetadataSchemas, Operation, Request


def metadata_changes(outcome: object, schemas: MetadataSchemas | None) -> list[dict[str, Any]]:
    """Return each field of metadata that Voucherify would refuse, and what is sent in its place."""
    if not schemas or not isinstance(outcome, Request):
        return []
    fitted = schemas.fit(outcome)
    before, after = _by_destination(outcome), _by_destination(fitted)
    changes = [
        {"field": field, "value": value, "action": f"{json.dumps(after[field])}, converted"}
        for field, value in before.items()
        if field in after and json.dumps(value) != json.dumps(after[field])
    ]
    reasons = {out.destination: out.reason for out in fitted.left_out[len(outcome.left_out) :]}
    changes += [
        {"field": field, "value": before.get(field), "action": f"left out: {reason}"}
        for field, reason in reasons.items()
    ]
    missing = schemas.missing(fitted)
    changes += [{"field": field, "value": None, "action": "required: the event is rejected"} for field in missing]
    return changes


def _by_destination(request: Request) -> dict[str, Any]:
    """Return the fields of a request by their destinations in a mapping."""
    body = request.body or {}
    match request.operation:
        case Operation.UPSERT_CUSTOMER:
            body = {"customer": body}
        case Operation.UPSERT_ORDER:
            of_order = {name: value for name, value in body.items() if name != "customer"}
            body = {"order": of_order, "customer": body["customer"]}
    return dict(fields_of("", body))
