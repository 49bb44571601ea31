"""The real Voucherify behind the stub's address, so that its calls and answers can be shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Self

import urllib3

from local.voucherify_stub.api import Answer, Request
from local.voucherify_stub.schemas import Json, error_object

_DEFAULT_URL = "https://api.voucherify.io"
_FORWARDED = ("accept", "content-type", "user-agent")


class RealVoucherify:
    """Forwards calls with the credentials of a real project. Its customers, events and orders stay empty."""

    def __init__(self, url: str, api_key: str, api_token: str) -> None:
        self.customers: dict[str, Json] = {}
        self.events: list[Json] = []
        self.orders: dict[str, Json] = {}
        self._url = url.rstrip("/")
        self._keys = {"X-App-Id": api_key, "X-App-Token": api_token}
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=1, read=2))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """Return the project of `VOUCHERIFY_API_KEY` and `VOUCHERIFY_API_TOKEN` at `VOUCHERIFY_API_URL`, or None."""
        key, token = environment.get("VOUCHERIFY_API_KEY"), environment.get("VOUCHERIFY_API_TOKEN")
        if not (key and token):
            return None
        return cls(environment.get("VOUCHERIFY_API_URL") or _DEFAULT_URL, key, token)

    def answer(self, request: Request) -> Answer:
        headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
        try:
            response = self._pool.request(
                request.method, self._url + request.path, body=request.body, headers={**headers, **self._keys}
            )
        except urllib3.exceptions.HTTPError as error:
            return Answer(504, error_object(504, request.request_id, f"{self._url}: {type(error).__name__}"))
        try:
            body = json.loads(response.data)
        except ValueError:
            body = {}
        return Answer(response.status, body)

    def finish_actions(self, request: Request) -> None:
        """The real Voucherify does so by itself."""

    def limit_headers(self, now: float, refused: bool) -> dict[str, str]:
        return {}
