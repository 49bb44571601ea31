"""The lines of the smoke test, in their order, and its clean-up."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from cli.checks import Check, guarded
from cli.dead_letters.filters import MessageFilter
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.moving import Moved, move
from cli.dead_letters.reading import QueueReader
from cli.idempotency import idempotency_record
from cli.segment import Answer
from cli.smoke.rollback import check_rollback
from cli.smoke.source import MAPPING, SOURCE, SmokeSource
from cli.smoke.stack_update import check_parameter
from cli.smoke.waiting import Waiting
from cli.target import Target
from handler.model.deadline import Deadline
from handler.settings.settings import Settings
from handler.voucherify.client import NoAnswer, VoucherifyClient
from mapping import Operation, Request

CUSTOMER = "voucherify-destination-smoke-test"

# Nothing listens at this port of an execution environment, so the connection fails at once. Another host would be given
# the project's credentials.
NOWHERE = "http://127.0.0.1:9"

# Reading a message hides it from other readers for seconds, and each request costs: a queue is read only so far.
_MOST_READ = 1000

# A message that was stored has reached SQS's readers by then.
_STORED_SECONDS = 15.0

# The longest backoff of an event that has failed for a minute, and Lambda's polling.
_BACKOFF_SECONDS = 90.0

# The time in which a changed alias reaches all of Lambda.
_ALIAS_SECONDS = 5.0

_PAUSE_SECONDS = 5.0
_VOUCHERIFY_SECONDS = 10.0

_OF_THE_TEST = MessageFilter(codes=frozenset(), types=frozenset(), sources=frozenset({SOURCE}), before=None, after=None)

_ADVICE = {
    202: "it will be tried again: doctor checks the credentials and the plan, the function's log has the reason",
    404: "the URL is not that of this stack, or the function has another SettingsPath",
    429: "API Gateway allows RequestsPerSecond requests a second: try again when there are fewer",
    503: "the function cannot read its settings, or cannot store events: its log has the reason",
}
_ADVICE_OF_OTHERS = "see docs/failures.md for the meaning of the answer"

T = TypeVar("T")


class SmokeTest:
    """One run. With `updates_stack` it also changes a parameter of the stack."""

    def __init__(
        self,
        target: Target,
        like: Settings,
        source: SmokeSource,
        event: str,
        waiting: Waiting,
        *,
        updates_stack: bool,
    ) -> None:
        self._target = target
        self._like = like
        self._event = event
        self._waiting = waiting
        self._updates_stack = updates_stack
        self._source = source
        self._tracked: dict[str, Any] = {}
        self._rejected_id = ""
        self._queued_id = ""
        self._queued_at = 0.0
        # Of the requests without an answer too, so that nothing is left after Ctrl-C.
        self._may_be_queued: set[str] = set()

    def checks(self) -> Iterator[Check]:
        """Yield each line. Without delivered events the rest is not tried, since it would take minutes to fail."""
        failed = ""
        for name, line, is_required in (
            ("source", self._create_source, True),
            ("no credentials", self._no_credentials, False),
            ("identify", self._identify, True),
            ("track", self._track, True),
            ("duplicate", self._duplicate, False),
            ("batch", self._batch, False),
            ("gzip", self._gzip, False),
            ("bad event", self._bad_event, False),
            ("setting changed", self._change_settings, False),
            ("outage", self._outage, False),
            ("setting back", self._change_settings_back, False),
            ("retry", self._retry, False),
            ("redrive", self._redrive, False),
            ("rollback", self._rollback, False),
            ("parameter", self._change_parameter, False),
        ):
            check = _not_tried(name, failed) if failed else guarded(name, line)
            yield check
            if is_required and check.is_fine is False:
                failed = name

    @property
    def clean_up(self) -> Sequence[Callable[[str], Check]]:
        """The steps of the clean-up, the most important one first."""
        return self._delete_settings, self._delete_messages, self._delete_customer

    def _create_source(self, name: str) -> Check:
        self._source.create(json.dumps({self._event: {}}))
        return Check(name, True, f"{SOURCE} has settings of its own")

    def _no_credentials(self, name: str) -> Check:
        return _expected(name, self._source.post(self._new_identify(), is_signed=False), 401)

    def _identify(self, name: str) -> Check:
        return _expected(name, self._send(self._new_identify()), 200, delivered=1)

    def _track(self, name: str) -> Check:
        self._tracked = self._new_track()
        return _expected(name, self._send(self._tracked), 200, delivered=1)

    def _duplicate(self, name: str) -> Check:
        return _expected(name, self._send(self._tracked), 200, duplicate=1)

    def _batch(self, name: str) -> Check:
        answer = self._send(self._new_identify(), self._new_track(), self._tracked)
        return _expected(name, answer, 200, delivered=2, duplicate=1)

    def _gzip(self, name: str) -> Check:
        """Find out what becomes of a gzipped body. AWS does not document it, so neither answer is a failure."""
        check = _expected(name, self._send(self._new_identify(), is_gzipped=True), 200, delivered=1)
        if self._target.is_local:  # whose front is not API Gateway
            text = f"{check.text} here; only AWS can answer"
            return Check(name, check.is_fine or None, text)
        advice = "a gzipped body does not arrive whole: leave compression off in Segment's libraries"
        return check if check.is_fine else Check(name, None, check.text, advice)

    def _bad_event(self, name: str) -> Check:
        """Send a track without a customer, which the mapping of `_change_settings_back` makes deliverable."""
        event = self._new_track(properties={"customer": CUSTOMER})
        del event["userId"]
        check = _expected(name, self._send(event), 400, rejected=1)
        if not check.is_fine:
            return check
        self._rejected_id = event["messageId"]
        found = self._waiting.until(self._dead_letter, bool, "the dead letter", seconds=_STORED_SECONDS, pause=1.0)
        if not found:
            text = f"400 rejected, but not among the first {_MOST_READ} dead letters"
            return Check(name, False, text, "run dead-letters list; empty the queue if it is long")
        return Check(name, True, f"400 rejected; in the dead-letter queue: {found.code}")

    def _change_settings(self, name: str) -> Check:
        # The identify that looks for the change must not be queued, so it is switched off first.
        self._source.write({"identifyDisabled": "true", "apiUrl": NOWHERE})
        return self._in_force(name, "identifyDisabled=true", skipped=1)

    def _outage(self, name: str) -> Check:
        def send() -> tuple[str, Answer]:
            event = self._new_track()
            return event["messageId"], self._send(event)

        message_id, answer = self._until_in_force("a wrong apiUrl", send, lambda sent: sent[1].status == 202)
        check = _expected(name, answer, 202, queued=1)
        if not check.is_fine:
            return replace(check, advice=f"apiUrl {NOWHERE} is not in force: see setting changed")
        self._queued_id, self._queued_at = message_id, self._waiting.clock()
        return replace(check, text=f"{check.text}, with a wrong apiUrl")

    def _change_settings_back(self, name: str) -> Check:
        rows = json.dumps({self._event: {"customer": "customer.source_id"}})
        self._source.write({MAPPING: rows, "apiUrl": self._like.api_url, "identifyDisabled": "false"})
        return self._in_force(name, "identifyDisabled=false", delivered=1)

    def _retry(self, name: str) -> Check:
        if not self._queued_id:
            return _not_tried(name, "outage")
        longest = 2 * self._source.settings_seconds + _BACKOFF_SECONDS
        return self._delivered_by_worker(name, self._queued_id, self._queued_at, longest)

    def _redrive(self, name: str) -> Check:
        if not self._rejected_id:
            return _not_tried(name, "bad event")
        started = self._waiting.clock()
        check = Check(name, False, "there was no dead letter to move", "run dead-letters list")
        for _ in range(2):  # with settings from before the change, the worker rejects it once more
            if not self._move_dead_letters():
                break
            check = self._delivered_by_worker(name, self._rejected_id, started, self._source.settings_seconds)
            if check.is_fine:
                return replace(check, text=f"{check.text}, with a changed mapping")
        return check

    def _rollback(self, name: str) -> Check:
        def send() -> Answer:
            self._waiting.sleep(_ALIAS_SECONDS)
            return self._send(self._new_identify())

        return check_rollback(name, self._target, send)

    def _change_parameter(self, name: str) -> Check:
        if self._target.is_local:
            return Check(name, None, "only AWS can answer: the local system has no stack")
        if not self._updates_stack:
            return Check(name, None, "not changed without --update-stack")
        return check_parameter(name, self._target, self._waiting)

    def _delete_settings(self, name: str) -> Check:
        return Check(name, True, f"settings of {SOURCE} deleted: {len(self._source.delete())}")

    def _delete_messages(self, name: str) -> Check:
        dead = self._delete_own("DeadLetterQueueUrl")
        # Reading the retry queue hides events of other sources for a moment: only where one of the test may be there.
        left = {message_id for message_id in self._may_be_queued if not self._is_delivered(message_id)}
        queued = self._delete_own("RetryQueueUrl") if left else 0
        text = f"messages of {SOURCE} deleted: {dead + queued}"
        if queued >= len(left):
            return Check(name, True, text)
        text += f"; up to {len(left) - queued} may be hidden until their next retry"
        advice = "without the source they become dead letters after RetryHours, which the next run deletes"
        return Check(name, None, text, advice)

    def _delete_customer(self, name: str) -> Check:
        path = f"/v1/customers/{CUSTOMER}/permanent-deletion"
        request = Request(Operation.DELETE_CUSTOMER, "POST", path, None, CUSTOMER)
        client = VoucherifyClient(self._like.api_url, self._like.api_key, self._like.api_token)
        try:
            status = client.send(request, Deadline.after(_VOUCHERIFY_SECONDS)).status
        except NoAnswer as error:
            problem = str(error)
        else:
            if status < 300:
                return Check(name, True, f"customer {CUSTOMER} deleted")
            if status == 404:
                return Check(name, True, f"customer {CUSTOMER} is not in Voucherify")
            problem = f"Voucherify answered {status}"
        return Check(name, None, f"customer {CUSTOMER} not deleted: {problem}", "delete it in Voucherify")

    def _send(self, *events: Mapping[str, Any], is_gzipped: bool = False) -> Answer:
        message_ids = {event["messageId"] for event in events}
        self._may_be_queued |= message_ids
        answer = self._source.post(*events, is_gzipped=is_gzipped)
        if "queued" not in answer.counts:
            self._may_be_queued -= message_ids
        return answer

    def _new_identify(self) -> dict[str, Any]:
        return {
            "type": "identify",
            "messageId": f"{SOURCE}-{uuid.uuid4()}",
            "userId": CUSTOMER,
            "traits": {"name": CUSTOMER},
        }

    def _new_track(self, **fields: Any) -> dict[str, Any]:
        return {
            "type": "track",
            "messageId": f"{SOURCE}-{uuid.uuid4()}",
            "userId": CUSTOMER,
            "event": self._event,
            "properties": {},
            **fields,
        }

    def _in_force(self, name: str, what: str, **counts: int) -> Check:
        """Wait until the function's answers show a changed setting."""
        started = self._waiting.clock()
        answer = self._until_in_force(
            what, lambda: self._send(self._new_identify()), lambda answer: answer.counts == counts
        )
        seconds = round(self._waiting.clock() - started)
        if answer.counts != counts:
            advice = "the function's log has the reason: settings cannot be used"
            return Check(name, False, f"{what} is not in force after {seconds} s: {answer}", advice)
        return Check(name, True, f"{what} after {seconds} s: {answer}")

    def _until_in_force(self, what: str, send: Callable[[], T], is_done: Callable[[T], bool]) -> T:
        seconds = self._source.settings_seconds
        return self._waiting.until(send, is_done, f"{what} to take effect", seconds=seconds, pause=seconds / 8)

    def _delivered_by_worker(self, name: str, message_id: str, since: float, longest: float) -> Check:
        """Wait until the retry worker has delivered a track."""
        found = self._waiting.until(
            lambda: self._is_delivered(message_id), bool, "the retry worker", seconds=longest, pause=_PAUSE_SECONDS
        )
        seconds = round(self._waiting.clock() - since)
        if not found:
            advice = f"run trace {message_id} --source {SOURCE}; the log of the retry worker has the reason"
            return Check(name, False, f"not delivered within {seconds} s", advice)
        return Check(name, True, f"delivered by the retry worker within {seconds} s")

    def _is_delivered(self, message_id: str) -> bool:
        record = idempotency_record(self._target, SOURCE, message_id)
        return record is not None and record.is_completed

    def _dead_letter(self) -> QueueMessage | None:
        with self._reader("DeadLetterQueueUrl") as reader:
            return next((one for one in reader.messages() if one.message_id == self._rejected_id), None)

    def _move_dead_letters(self) -> int:
        """Move the dead letters of the test to the retry queue, and return their number."""
        self._may_be_queued.add(self._rejected_id)
        moved = Moved()
        with self._reader("DeadLetterQueueUrl") as reader:
            move(
                self._target.sqs,
                reader,
                self._target.value("RetryQueueUrl"),
                _OF_THE_TEST,
                moved,
                rate=10.0,
                is_dry_run=False,
                progress=lambda done, total: None,
            )
        return moved.moved

    def _delete_own(self, queue: str) -> int:
        with self._reader(queue) as reader:
            return len(reader.delete([one.sqs_id for one in reader.messages() if _OF_THE_TEST.matches(one)]))

    def _reader(self, queue: str) -> QueueReader:
        return QueueReader(self._target.sqs, self._target.value(queue), at_most=_MOST_READ)


def _expected(name: str, answer: Answer, status: int, **counts: int) -> Check:
    is_fine = answer.status == status and answer.counts == counts
    return Check(name, is_fine, str(answer), "" if is_fine else _ADVICE.get(answer.status, _ADVICE_OF_OTHERS))


def _not_tried(name: str, failed: str) -> Check:
    return Check(name, None, f"not tried: {failed} failed")
