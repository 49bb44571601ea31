"""The source `smoke-test`: its own settings and secrets, and requests to it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from cli.errors import CommandFailed
from cli.segment import Answer, credentials_for, events_url, send
from cli.settings.store import Store
from cli.smoke.waiting import Waiting
from cli.target import Target
from handler.settings.setting_types import Parameter
from handler.settings.settings import Secrets, Settings

SOURCE = "smoke-test"

# The mapping of the track events, and the mark of this source: a smoke test writes it first.
MAPPING = f"trackMapping.{SOURCE}"

# Every parameter that this source ever has. They are deleted with one call.
_NAMES = (
    MAPPING,
    "sharedSecret",
    "accessToken",
    "identifyDisabled",
    "trackDisabled",
    "trackEventsFilter",
    "apiKey",
    "apiToken",
    "apiUrl",
)

# A setting that was written has reached Parameter Store's readers by then.
_WRITTEN_SECONDS = 15.0

_PAUSE_SECONDS = 5.0


class SmokeSource:
    """The source, with the Voucherify project of `like`. It exists from `create` to `delete`.

    Call `check` before anything else.
    """

    def __init__(self, target: Target, like: Settings, waiting: Waiting) -> None:
        self._target = target
        self._like = like
        self._waiting = waiting
        self._secrets = Secrets((token_hex(32),), (token_hex(32),))
        # The time in which every execution environment reads changed settings.
        self.settings_seconds = float(target.value("SettingsTtlSeconds")) + _WRITTEN_SECONDS
        self._known_at = 0.0

    @property
    def url(self) -> str:
        return events_url(self._target, SOURCE)

    def check(self) -> None:
        """Raise CommandFailed where there is a source of this name that no smoke test made."""
        own = Store(self._target, SOURCE).own
        if own and MAPPING not in own:
            problem = f"there is a source {SOURCE} that no smoke test made"
            raise CommandFailed(problem, "the smoke test needs this name for itself: give your source another one")

    def create(self, mapping: str) -> None:
        """Write its settings, also over those that an interrupted test has left. Raises CommandFailed.

        A function may read them between two writes: each is valid beside the ones before it, except the first of the
        credentials.
        """
        self.write(
            {
                MAPPING: mapping,
                "sharedSecret": self._secrets.shared_secrets[0],
                "accessToken": self._secrets.access_tokens[0],
                "identifyDisabled": "false",
                "trackDisabled": "false",
                "trackEventsFilter": '["*"]',
                "apiKey": self._like.api_key,
                "apiToken": self._like.api_token,
                "apiUrl": self._like.api_url,
            }
        )
        self._known_at = self._waiting.clock() + self.settings_seconds

    def write(self, settings: Mapping[str, str]) -> None:
        """Write some of its settings, in this order. Raises CommandFailed where all of them together have a fault."""
        store = Store(self._target, SOURCE)
        plan = store.plan({name: Parameter(value) for name, value in settings.items()})
        if plan.faults:
            faults = "; ".join(map(str, plan.faults))
            raise CommandFailed(f"the settings of the source {SOURCE} would have faults: {faults}", "run settings show")
        for change in plan.changes:
            store.put(change)

    def delete(self) -> list[str]:
        """Delete its settings, and return their names."""
        return Store(self._target, SOURCE).delete(_NAMES)

    def post(self, *events: Mapping[str, Any], is_gzipped: bool = False, is_signed: bool = True) -> Answer:
        """Post an event, or an array of events, which Segment signs over the first one. Raises CommandFailed.

        At first an execution environment may not know the source, or knows it from the last test: tries again.
        """
        elements = [json.dumps(event).encode() for event in events]
        body = elements[0] if len(elements) == 1 else b"[" + b",".join(elements) + b"]"
        headers = credentials_for(elements[0], self._secrets) if is_signed else {}
        if is_gzipped:
            body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
        # A 401 is the expected answer without a signature, and a likely one to a gzipped body.
        early = {401, 404, 503} if is_signed and not is_gzipped else {404, 503}
        return self._waiting.until(
            lambda: send(self.url, body, headers),
            lambda answer: answer.status not in early,
            "the functions to read the new source",
            seconds=self._known_at - self._waiting.clock(),
            pause=_PAUSE_SECONDS,
        )
