"""The published API, as Voucherify's own SDK has it: what a request's body may be.

The SDK drops what it does not know without a word, so a body must come back from it with the same keys.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def _models() -> dict[str, Any]:
    # Takes seconds to import.
    from voucherify.models.customers_create_request_body import CustomersCreateRequestBody
    from voucherify.models.events_create_request_body import EventsCreateRequestBody

    return {"/v1/customers": CustomersCreateRequestBody, "/v1/events": EventsCreateRequestBody}


def assert_published(path: str, body: Any) -> None:
    """Raises AssertionError, or the SDK's own error, for a body that the published API does not know."""
    model = _models()[path].from_dict(body)
    assert _keys(model.to_dict()) == _keys(body)
    if path == "/v1/events":
        # Required by the published API; the SDK's models have every field optional.
        assert body["event"]
        assert body["customer"].keys() & {"id", "source_id"}
        assert all("code" in body[part] for part in ("loyalty", "referral") if part in body)


def _keys(value: Any) -> Any:
    """The keys at every depth; the SDK writes out what is not set as null."""
    return {key: _keys(item) for key, item in value.items() if item is not None} if isinstance(value, dict) else None
