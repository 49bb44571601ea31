"""What the project's metadata schemas change in a request."""

from __future__ import annotations

import json
from typing import Any

from cli.preview.comparison import fields_of
from mapping import MetadataSchemas, Request


def metadata_changes(outcome: object, schemas: MetadataSchemas | None) -> list[dict[str, Any]]:
    """Return each field of metadata that Voucherify would refuse, and what is sent in its place."""
    if not schemas or not isinstance(outcome, Request):
        return []
    fitted = schemas.fit(outcome)
    before, after = dict(fields_of("", outcome.body or {})), dict(fields_of("", fitted.body or {}))
    prefix = "customer." if "event" not in before else ""
    changes = [
        {"field": prefix + field, "value": value, "action": f"{json.dumps(after[field])}, converted"}
        for field, value in before.items()
        if field in after and json.dumps(value) != json.dumps(after[field])
    ]
    reasons = {out.destination: out.reason for out in fitted.left_out[len(outcome.left_out) :]}
    changes += [
        {"field": field, "value": before.get(field.removeprefix(prefix)), "action": f"left out: {reason}"}
        for field, reason in reasons.items()
    ]
    missing = schemas.missing(fitted)
    changes += [{"field": field, "value": None, "action": "required: the event is rejected"} for field in missing]
    return changes
