"""Check a request against the published API, by the models of Voucherify's own SDK.

The SDK silently drops unknown fields, so a body must come back from it with the same keys.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

# One segment of a path, its other characters percent-encoded: https://www.rfc-editor.org/rfc/rfc3986#section-3.3
_SEGMENT = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+"

_BULK = "/v1/customers/bulk/async"
_IMPORT = "/v1/orders/import"
# The most rows of the arrays that these paths take. No number of customers is published, but 10 MB.
_ROWS = {_BULK: None, _IMPORT: 2_000}


def published_model(name: str) -> Any:
    """Return a model of the SDK, such as `EventsCreateRequestBody`.

    Importing the SDK's packages would import all of its 1,390 models, which takes 8 seconds: empty ones stand for them.
    """
    for package in ("voucherify", "voucherify.models"):
        if package not in sys.modules:
            spec = find_spec(package)
            assert spec
            sys.modules[package] = module_from_spec(spec)  # not executed
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return getattr(import_module(f"voucherify.models.{module}"), name)


@cache
def _endpoints() -> tuple[tuple[str, Any], ...]:
    """Return patterns of paths, each with the model of the body, or None where the endpoint takes no body."""
    return (
        ("/v1/customers", published_model("CustomersCreateRequestBody")),
        (r"/v1/customers\?limit=(?:[1-9][0-9]?|100)", None),  # GET: the list of them
        (_BULK, published_model("CustomersUpdateInBulkRequestBody")),
        ("/v1/metadata-schemas", None),
        (f"/v1/async-actions/{_SEGMENT}", None),
        ("/v1/events", published_model("EventsCreateRequestBody")),
        (f"/v1/customers/{_SEGMENT}/permanent-deletion", None),
        ("/v1/orders", published_model("OrdersCreateRequestBody")),
        (_IMPORT, published_model("OrdersImportCreateRequestBodyItem")),
    )


def assert_published(path: str, body: Any) -> None:
    """Raise AssertionError, or the SDK's own error, for a path or body that the published API does not have."""
    models = [model for pattern, model in _endpoints() if re.fullmatch(pattern, path)]
    assert models, f"{path} is not published"
    if models == [None]:
        assert body is None, f"{path} takes no body"
        return
    if path in _ROWS:
        assert isinstance(body, list)
        assert 1 <= len(body) <= (_ROWS[path] or len(body))
    for part in body if path in _ROWS else [body]:
        assert _keys(models[0].from_dict(part).to_dict()) == _keys(part)
        if path in ("/v1/orders", _IMPORT):
            assert len(part.get("items", [])) <= 500
    if path == _BULK:
        assert all(row["source_id"] for row in body)
    if path == "/v1/events":
        # Required by the published API; the SDK's models have every field optional.
        assert body["event"]
        assert body["customer"].keys() & {"id", "source_id"}
        assert all("code" in body[part] for part in ("loyalty", "referral") if part in body)


def _keys(value: Any) -> Any:
    """Return the keys at every depth, without the fields that the SDK adds as null."""
    if isinstance(value, list):
        return [_keys(item) for item in value]
    return {key: _keys(item) for key, item in value.items() if item is not None} if isinstance(value, dict) else None
