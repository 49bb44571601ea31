"""Read birth dates: ISO 8601 in every form that has a day, or epoch time.

A day that the value does not have is never guessed, since a voucher may be sent on it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from mapping.values import ConversionError, kind_of, to_text, trim

_FIRST = date(1900, 1, 1)

# Segment's server sets the first; the clocks of devices set the others:
# https://segment.com/docs/connections/spec/common/#timestamp-overview
_TIMES = ("receivedAt", "sentAt", "timestamp", "originalTimestamp")

# The mapping has no clock: an event without any of those times counts as one of this version's year.
_LAST_WITHOUT_TIME = date(2026, 12, 31)

_TIME = (
    r"(?:[01][0-9]|2[0-3])(?::?[0-5][0-9](?::?(?:[0-5][0-9]|60))?)?(?:[.,][0-9]+)?"
    r"|24(?::?00(?::?00)?)?(?:[.,]0+)?"  # midnight at the end of the day
)
_ZONE = r"Z|UTC|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9](?::?[0-5][0-9])?)?"
_ISO = re.compile(
    r"(?P<year>[0-9]{4})(?P<dash>-?)"
    r"(?:W(?P<week>[0-9]{2})(?P=dash)(?P<weekday>[0-9])|(?P<ordinal>[0-9]{3})|(?P<month>[0-9]{2})(?P=dash)(?P<day>[0-9]{2}))"
    rf"(?:(?:T|\s+)(?:{_TIME}))?(?:\s*(?:{_ZONE}))?",
    re.IGNORECASE,
)
_WITHOUT_DAY = re.compile(
    r"[12][0-9]{3}|[0-9]{4}-(?:0[1-9]|1[0-2])|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])|[0-9]{4}-?W[0-9]{2}", re.IGNORECASE
)
# A whole number without its sign and fraction of zero: `19900131`, `+19900131` and `19900131.0` are the same day.
_WHOLE = re.compile(r"\+?([0-9]+)(?:\.0+)?")
# Seven digits as text are an ordinal date of these centuries. Others, and numbers, are seconds in 1970.
_ORDINAL_DIGITS = re.compile(r"(?:18|19|20|21)[0-9]{5}")
_EPOCH = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


def to_birthdate(value: object, latest: date) -> str:
    """Return a birth date, `YYYY-MM-DD`, from 1900-01-01 to `latest`.

    An ISO 8601 date or date-time keeps its day, without a change of time zone. Eight digits that are a date are that
    day. Another number, or its digits as text, is epoch time and becomes the day in UTC: it counts seconds, or
    milliseconds where seconds would not be a birth date. Raises ConversionError.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConversionError(f"{kind_of(value)} is not a date")
    is_text = isinstance(value, str)
    text = trim(to_text(value)).replace("\N{MINUS SIGN}", "-")
    if whole := _WHOLE.fullmatch(text):
        text = whole[1]
    if _WITHOUT_DAY.fullmatch(text):
        raise ConversionError("a year, a month or a week is not a day")
    can_be_iso = len(text) != len("YYYYDDD") or (is_text and _ORDINAL_DIGITS.fullmatch(text))
    iso = _ISO.fullmatch(text) if can_be_iso else None
    days = [day] if iso and (day := _day_of(iso)) else list(_days_since_1970(text))
    for day in days:
        if _FIRST <= day <= latest:
            return day.isoformat()
    if days:
        raise ConversionError("the day is in the future" if days[-1] > latest else "the day is before 1900")
    if is_text and not _EPOCH.fullmatch(text):
        raise ConversionError("the text is neither an ISO 8601 date nor an epoch time")
    raise ConversionError("the number is not an epoch time")


def latest_birthdate(fields: Mapping[str, Any]) -> date:
    """Return the last possible birth date of the customer of an event: the day of the event."""
    for name in _TIMES:
        value = fields.get(name)
        iso = _ISO.fullmatch(trim(value)) if isinstance(value, str) else None
        if iso and (day := _day_of(iso)):
            return day
    return _LAST_WITHOUT_TIME


def _day_of(iso: re.Match[str]) -> date | None:
    """Return the day, or None where the calendar does not have it."""
    year, week, ordinal = int(iso["year"]), iso["week"], iso["ordinal"]
    try:
        if week:
            return date.fromisocalendar(year, int(week), int(iso["weekday"]))
        if ordinal:
            day = date.fromordinal(date(year, 1, 1).toordinal() + int(ordinal) - 1)
            return day if day.year == year else None
        return date(year, int(iso["month"]), int(iso["day"]))
    except ValueError:
        return None


def _days_since_1970(text: str) -> Iterator[date]:
    """Yield the days that a number of seconds and of milliseconds means, as far as the calendar has them."""
    if not _EPOCH.fullmatch(text):
        return
    number = float(text)
    for units_of_a_day in (86_400, 86_400_000):
        try:
            yield date(1970, 1, 1) + timedelta(days=math.floor(number / units_of_a_day))
        except OverflowError:  # infinite, or beyond the calendar
            continue
