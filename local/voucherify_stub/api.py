"""Voucherify's API in memory, as far as the destination calls it. No sockets, no threads.

It follows https://docs.voucherify.io/api-reference. Where the reference says nothing, a comment gives the choice.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

from jsonschema import Draft202012Validator

from local.voucherify_stub.metadata import faults_of_metadata, metadata_schema_list
from local.voucherify_stub.orders import changed_order, new_order
from local.voucherify_stub.schemas import (
    CUSTOMER,
    CUSTOMER_ATTRIBUTES,
    CUSTOMERS_IN_BULK,
    EVENT,
    ORDER,
    ORDERS_IMPORT,
    Json,
    error_object,
)


@dataclass(frozen=True)
class Request:
    """A received call. `connection` is the number of its connection, so a reused one shows."""

    number: int
    at: float
    connection: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def request_id(self) -> str:
        return f"v-{self.number:06d}"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Json


@dataclass(frozen=True)
class RateLimit:
    """The calls that are allowed in each window of that many seconds, as Voucherify's plans count them."""

    calls: int
    seconds: float


# Returns why a row of a bulk call or an import fails, or None.
RowRule = Callable[[Json], str | None]

# https://docs.voucherify.io/api-reference/customers/update-customers-in-bulk
MAX_BULK_BYTES = 10 * 1024 * 1024


class Api(Protocol):
    """An API for the stub, which makes one call at a time."""

    customers: dict[str, Json]
    events: list[Json]
    orders: dict[str, Json]

    def answer(self, request: Request) -> Answer: ...

    def finish_actions(self, request: Request) -> None: ...

    def limit_headers(self, now: float, refused: bool) -> dict[str, str]: ...


class VoucherifyApi:
    """One project's customers, events and orders. Not thread-safe."""

    def __init__(
        self,
        api_key: str,
        api_token: str,
        limit: RateLimit | None = None,
        row_rule: RowRule = lambda row: None,
        metadata_schemas: Callable[[], list[Json]] = list,
    ) -> None:
        self._credentials = (api_key, api_token)
        self._windows = Windows(limit) if limit else None
        self._row_rule = row_rule
        self._metadata_schemas = metadata_schemas
        # Asynchronous actions by id. Each that is not done has a function in `_enqueued`, which applies its rows and
        # returns its result. Actions are replaced, not changed.
        self._actions: dict[str, Json] = {}
        self._enqueued: list[tuple[str, Callable[[Request], Json]]] = []
        # By source_id, or by id where there is none. Customers are replaced, not changed in place.
        self.customers: dict[str, Json] = {}
        self.events: list[Json] = []
        # By source_id, or by id where there is none. Orders are replaced too.
        self.orders: dict[str, Json] = {}
        self._key_by_id: dict[str, str] = {}
        self._order_key_by_id: dict[str, str] = {}

    def answer(self, request: Request) -> Answer:
        try:
            self._authenticate(request)
            if self._windows and not self._windows.take(request.at):
                raise _Refused(429, "The limit of API calls is reached")
            return _route(self, request)
        except _Refused as refusal:
            error = error_object(refusal.code, request.request_id, refusal.details, refusal.key, **refusal.resource)
            return Answer(refusal.status, error)

    def limit_headers(self, now: float, refused: bool) -> dict[str, str]:
        return self._windows.headers(now, refused) if self._windows else {}

    def create_customer(self, request: Request) -> Json:
        """https://docs.voucherify.io/api-reference/customers/create-customer"""
        return self._upsert(_payload(request, CUSTOMER), request)

    def track_event(self, request: Request) -> Json:
        """https://docs.voucherify.io/api-reference/events/track-custom-event

        Any loyalty or referral code is accepted.
        """
        event = _payload(request, EVENT)
        _require_id(event, "customer")
        self._check_metadata(event["event"], event.get("metadata", {}))
        customer = self._upsert_related(event["customer"], request)
        self.events.append(event)
        shown = ("id", "source_id", "name", "email", "metadata", "object")
        return {
            "object": "event",
            "type": event["event"],
            "customer": {key: customer[key] for key in shown if key in customer},
            "referral": None,
            "loyalty": None,
            "metadata": event.get("metadata", {}),
        }

    def list_metadata_schemas(self, request: Request) -> Json:
        """https://docs.voucherify.io/api-reference/metadata-schemas/list-metadata-schemas"""
        return metadata_schema_list(self._metadata_schemas())

    def list_customers(self, request: Request) -> Json:
        """https://docs.voucherify.io/api-reference/customers/list-customers"""
        return _list_of("customers", self.customers, request)

    def update_customers_in_bulk(self, request: Request) -> Json:
        """https://docs.voucherify.io/api-reference/customers/update-customers-in-bulk

        The rows are applied when an asynchronous action is requested, after its answer.
        """
        if len(request.body) > MAX_BULK_BYTES:
            raise _Refused(413, "A bulk request has up to 10 MB")
        rows = _payload(request, CUSTOMERS_IN_BULK)
        return self._enqueue("CUSTOMERS.BULK_UPDATE", partial(self._apply_customers, rows), request)

    def create_order(self, request: Request) -> Json:
        """https://docs.voucherify.io/api-reference/orders/create-order"""
        return self._upsert_order(_payload(request, ORDER), request)

    def list_orders(self, request: Request) -> Json:
        """https://docs.voucherify.io/api-reference/orders/list-orders

        In the order of their first calls, even where a `created_at` was given.
        """
        return _list_of("orders", self.orders, request)

    def import_orders(self, request: Request) -> Json:
        """https://docs.voucherify.io/api-reference/orders/import-orders

        The orders are applied as customers in bulk are. The published status is 200, where that of customers is 202.
        A `created_at` is ignored: Voucherify sets that of an import.
        """
        rows = [
            {key: value for key, value in row.items() if key != "created_at"}
            for row in _payload(request, ORDERS_IMPORT)
        ]
        return self._enqueue("ORDERS.IMPORT", partial(self._import_orders, rows), request)

    def get_async_action(self, request: Request, action_id: str) -> Json:
        """https://docs.voucherify.io/api-reference/async-actions/get-async-action"""
        if action_id not in self._actions:
            raise _not_found("async_action", action_id)
        action = self._actions[action_id]
        self.finish_actions(request)
        return action

    def finish_actions(self, request: Request) -> None:
        """Process every asynchronous action that waits, in their order."""
        now = _timestamp(request.at)
        for enqueued_id, apply in self._enqueued:
            self._actions[enqueued_id] = {
                **self._actions[enqueued_id],
                "status": "DONE",
                "operation_status": "SUCCESS",
                "result": apply(request),
                "updated_at": now,
                "progress": 100,
                "processing_time": 1,
            }
        self._enqueued.clear()

    def _enqueue(self, kind: str, apply: Callable[[Request], Json], request: Request) -> Json:
        action_id = _id("aa", request.request_id)
        self._actions[action_id] = {
            "id": action_id,
            "type": kind,
            "status": "ENQUEUED",
            "operation_status": "UNKNOWN",
            "result": None,
            "created_at": _timestamp(request.at),
            "updated_at": None,
            "request_id": request.request_id,
            "progress": 0,
            "object": "async_action",
        }
        self._enqueued.append((action_id, apply))
        return {"async_action_id": action_id}

    def _apply_customers(self, rows: list[Json], request: Request) -> Json:
        errors: list[Json] = []
        for row in rows:
            error = {"source_id": row["source_id"], "key": "invalid", "message": "", "details": ""}
            if reason := self._row_rule(row):
                errors.append({**error, "message": reason})
                continue
            try:
                self._upsert(row, request)
            except _Refused as refusal:
                errors.append({**error, "key": refusal.key or error["key"], "message": refusal.details})
        return {
            "done_count": len(rows) - len(errors),
            "failed_count": len(errors),
            "reports": [],
            "reports_available_till": _timestamp(request.at),
            "errors": errors,
        }

    def _import_orders(self, rows: list[Json], request: Request) -> Json:
        # `failed` is an object in the published schema, and an array in its description and in the example.
        failed: list[Json] = []
        for row in rows:
            reason = self._row_rule(row)
            if not reason:
                try:
                    self._upsert_order(row, request)
                except _Refused as refusal:
                    reason = refusal.details
            if reason:
                failed.append({"source_id": row.get("source_id"), "reason": reason})
        done = len(rows) - len(failed)
        return {
            "message": f"{done} order(s) imported successfully, {len(failed)} failed.",
            "failed": failed,
            "done_count": done,
            "failed_count": len(failed),
        }

    def delete_customer_permanently(self, request: Request, customer_id: str) -> Json:
        """https://docs.voucherify.io/api-reference/customers/delete-customer-permanently

        `events` is unchanged: it records the applied calls. So is `orders`: the reference does not say which resources
        count as connected to a customer.
        """
        # The reference has no body here and does not say how one is treated. It is refused, so that it shows.
        if request.body:
            raise _Refused(400, "There must be no request body")
        customer = self.customers.pop(self._key_by_id.get(customer_id, customer_id), None)
        if not customer:
            raise _not_found("customer", customer_id)
        del self._key_by_id[customer["id"]]
        counted = ("events", "customer_events", "daily_events", "segments", "orders", "order_events")
        return {
            "id": _id("del", request.request_id),
            "created_at": _timestamp(request.at),
            "related_object_id": customer["id"],
            "related_object": "customer",
            "status": "DONE",
            # The reference does not define the counts. The stub counts the customer only.
            "data_json": {**dict.fromkeys(counted, 0), "customer": 1},
            "object": "pernament_deletion",  # Voucherify's own spelling
        }

    def _authenticate(self, request: Request) -> None:
        """https://docs.voucherify.io/api-reference/authentication"""
        headers = request.headers
        if (headers.get("X-App-Id"), headers.get("X-App-Token")) != self._credentials:
            raise _Refused(401, "X-App-Id and X-App-Token are not those of this project")

    def _upsert(self, given: Json, request: Request) -> Json:
        # Attributes that the payload lacks are unchanged. The reference does not say how deep this goes: metadata is
        # set key by key, an address as a whole.
        now = _timestamp(request.at)
        known = _find("customer", given, self.customers, self._key_by_id)
        if known:
            customer = {**known, "updated_at": now}
        else:
            customer = _new_customer(given.get("source_id") or None, request.request_id, now)
        customer.update({key: given[key] for key in CUSTOMER_ATTRIBUTES.keys() & given.keys()})
        customer["metadata"] = {**customer["metadata"], **given.get("metadata", {})}
        self._check_metadata("customer", customer["metadata"])
        key = customer["source_id"] or customer["id"]
        self._key_by_id[customer["id"]] = key
        self.customers[key] = customer
        return customer

    def _upsert_related(self, given: Json, request: Request) -> Json:
        """Upsert the customer of an event or order.

        As published for events, an unknown customer is a 400 with `code` 404. The reference gives no error for orders.
        """
        try:
            return self._upsert(given, request)
        except _Refused as refusal:
            refusal.status = 400
            raise

    def _upsert_order(self, given: Json, request: Request) -> Json:
        if given.get("referrer_id"):
            given = {"referrer": {"id": given["referrer_id"]}, **given}
        related = [name for name in ("customer", "referrer") if name in given]
        for name in related:
            _require_id(given, name)
        now = _timestamp(request.at)
        known = _find("order", given, self.orders, self._order_key_by_id)
        if known:
            order = {**known, "updated_at": now}
        else:
            source_id = given.get("source_id") or None
            # Orders of one import have one request, so those without a source_id are counted.
            drawn_from = source_id or f"{request.request_id} {len(self.orders)}"
            order = new_order(_id("ord", drawn_from), source_id, now)
        order = changed_order(order, given)
        self._check_metadata("order", order["metadata"])
        # Last, since a refused order must not change its customer. A refused referrer leaves the customer changed.
        for name in related:
            customer = self._upsert_related(given[name], request)
            order |= {name: {"id": customer["id"], "object": "customer"}, f"{name}_id": customer["id"]}
        key = order["source_id"] or order["id"]
        self._order_key_by_id[order["id"]] = key
        self.orders[key] = order
        return order

    def _check_metadata(self, related_object: str, metadata: Json) -> None:
        """Refuse metadata as published for https://docs.voucherify.io/api-reference/vouchers/validate-voucher

        The reference does not say under which `related_object` the schema of a custom event is listed: the stub has it
        under the event's name. What a customer has already counts as given.
        """
        if faults := faults_of_metadata(related_object, metadata, self._metadata_schemas()):
            raise _Refused(400, "; ".join(faults), key="metadata_validation_failed")


class _Refused(Exception):
    """A refusal. `code` is that of the error object, which is mostly the status."""

    def __init__(self, status: int, details: str, key: str = "", **resource: str) -> None:
        super().__init__(details)
        self.status = self.code = status
        self.details = details
        self.key = key
        self.resource = resource


def _not_found(kind: str, unknown_id: str) -> _Refused:
    details = f"Cannot find {kind} with id {unknown_id}"
    return _Refused(404, details, resource_id=unknown_id, resource_type=kind)


def _find(kind: str, given: Json, records: dict[str, Json], key_by_id: dict[str, str]) -> Json | None:
    # An id takes precedence over a source_id, and must be one of Voucherify's.
    given_id = given.get("id")
    if not given_id:
        return records.get(given.get("source_id") or "")
    if given_id not in key_by_id:
        raise _not_found(kind, given_id)
    return records[key_by_id[given_id]]


def _require_id(given: Json, name: str) -> None:
    if not (given[name].get("id") or given[name].get("source_id")):
        raise _Refused(400, f"{name}.id or {name}.source_id is required")


def _list_of(name: str, records: dict[str, Json], request: Request) -> Json:
    """Return the first records. The stub refuses every parameter other than `limit`, so that it shows."""
    if request.body:
        raise _Refused(400, "There must be no request body")
    query = parse_qs(request.path.partition("?")[2], keep_blank_values=True)
    limit = query.pop("limit", ["10"])[-1]
    if query:
        raise _Refused(400, f"The stub does not know {', '.join(query)}")
    if not (limit.isdecimal() and 1 <= int(limit) <= 100):
        raise _Refused(400, "limit must be a number from 1 to 100")
    return {
        "object": "list",
        "data_ref": name,
        name: list(records.values())[: int(limit)],
        "total": len(records),
    }


# An endpoint gets the decoded named groups of its pattern as keyword arguments.
# The status is that of its answer.
_ENDPOINTS: tuple[tuple[str, re.Pattern[str], Callable[..., Json], int], ...] = (
    ("POST", re.compile(r"/v1/customers"), VoucherifyApi.create_customer, 200),
    ("GET", re.compile(r"/v1/customers"), VoucherifyApi.list_customers, 200),
    ("GET", re.compile(r"/v1/metadata-schemas"), VoucherifyApi.list_metadata_schemas, 200),
    ("POST", re.compile(r"/v1/customers/bulk/async"), VoucherifyApi.update_customers_in_bulk, 202),
    ("GET", re.compile(r"/v1/async-actions/(?P<action_id>[^/]+)"), VoucherifyApi.get_async_action, 200),
    ("POST", re.compile(r"/v1/events"), VoucherifyApi.track_event, 200),
    ("POST", re.compile(r"/v1/orders"), VoucherifyApi.create_order, 200),
    ("GET", re.compile(r"/v1/orders"), VoucherifyApi.list_orders, 200),
    ("POST", re.compile(r"/v1/orders/import"), VoucherifyApi.import_orders, 200),
    (
        "POST",
        re.compile(r"/v1/customers/(?P<customer_id>[^/]+)/permanent-deletion"),
        VoucherifyApi.delete_customer_permanently,
        200,
    ),
)


def _route(api: VoucherifyApi, request: Request) -> Answer:
    path = request.path.partition("?")[0]
    others = []
    for method, pattern, endpoint, status in _ENDPOINTS:
        if match := pattern.fullmatch(path):
            if method == request.method:
                # Decoded after the match, since the %2F of an id is no separator.
                parts = {name: unquote(part) for name, part in match.groupdict().items()}
                return Answer(status, endpoint(api, request, **parts))
            others.append(method)
    if others:
        raise _Refused(405, f"{request.method} is not supported here, {' and '.join(others)} is")
    raise _Refused(404, f"There is nothing at {path}")


def _payload(request: Request, schema: Draft202012Validator) -> Any:
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise _Refused(415, "The Content-Type must be application/json")
    # Without the values, which may be long and are personal data.
    faults = {
        f"{fault.json_path} fails {fault.validator}: {fault.validator_value}"
        for fault in schema.iter_errors(request.json)
    }
    if faults:
        raise _Refused(400, "; ".join(sorted(faults)))
    return request.json


class Windows:
    """Calls counted in fixed windows. Headers: https://docs.voucherify.io/guides/limits

    A window begins at `start`, in epoch seconds, and another one at the end of each.
    """

    def __init__(self, limit: RateLimit, start: float = 0.0) -> None:
        self._limit = limit
        self._start = start
        self._current = -1
        self._used = 0

    def take(self, now: float) -> bool:
        self._move_to(now)
        if self._used >= self._limit.calls:
            return False
        self._used += 1
        return True

    def headers(self, now: float, refused: bool) -> dict[str, str]:
        self._move_to(now)
        end = self._start + (self._current + 1) * self._limit.seconds
        headers = {
            "X-Rate-Limit-Limit": str(self._limit.calls),
            "X-Rate-Limit-Remaining": str(self._limit.calls - self._used),
            "X-Rate-Limit-Retry": str(math.ceil(end)),
        }
        if refused:
            headers["Retry-After"] = str(max(1, math.ceil(end - now)))
            headers["X-Rate-Limit-Type"] = "api_calls"
        return headers

    def advance(self, seconds: float) -> None:
        """Let the windows end that much sooner."""
        self._start -= seconds

    def _move_to(self, now: float) -> None:
        window = math.floor((now - self._start) / self._limit.seconds)
        if window != self._current:
            self._current, self._used = window, 0


def _timestamp(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def _id(kind: str, drawn_from: str) -> str:
    digest = hashlib.sha256(drawn_from.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{kind}_{digest[:24]}"


def _new_customer(source_id: str | None, request_id: str, now: str) -> Json:
    # The id follows from the source_id, so that it does not depend on the order of threads.
    return {
        "id": _id("cust", source_id or request_id),
        "source_id": source_id,
        "address": None,
        "summary": {
            "redemptions": {
                "total_redeemed": 0,
                "total_failed": 0,
                "total_succeeded": 0,
                "total_rolled_back": 0,
                "total_rollback_failed": 0,
                "total_rollback_succeeded": 0,
                "gift": {"redeemed_amount": 0, "amount_to_go": 0},
                "loyalty_card": {"redeemed_points": 0, "points_to_go": 0},
            },
            "orders": {
                "total_amount": 0,
                "total_count": 0,
                "average_amount": 0,
                "last_order_amount": 0,
            },
        },
        "loyalty": {"points": 0, "referred_customers": 0, "campaigns": {}},
        "referrals": {"total": 0, "campaigns": []},
        "metadata": {},
        "system_metadata": {},
        "created_at": now,
        "updated_at": None,
        "object": "customer",
    }
