"""Items of the table of idempotency records: the ids of records about a customer or a project, and their times."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any


def hashed_key(kind: str, /, **parts: str) -> Any:
    """Return the key of an item of a kind. It holds a hash of the parts, since they may be personal data."""
    data = json.dumps(parts, sort_keys=True)
    return {"id": {"S": f"{kind}#{hashlib.sha256(data.encode()).hexdigest()}"}}


def sortable(moment: datetime) -> str:
    """Return a text whose order is that of the moments."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
