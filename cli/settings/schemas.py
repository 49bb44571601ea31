"""The metadata schemas of the Voucherify project that settings name."""

from __future__ import annotations

from handler.model.deadline import Deadline
from handler.settings.settings import Settings
from handler.voucherify.client import NoAnswer, VoucherifyClient
from handler.voucherify.metadata_schemas import read_schemas
from mapping import MetadataSchemas

_TIMEOUT_SECONDS = 5.0


def schemas_of(settings: Settings) -> tuple[MetadataSchemas | None, str]:
    """Return the schemas; or None, and why they could not be read."""
    client = VoucherifyClient(settings.api_url, settings.api_key, settings.api_token)
    try:
        answer, schemas = read_schemas(client, Deadline.after(_TIMEOUT_SECONDS))
    except NoAnswer as error:
        return None, f"no answer from {settings.api_url}: {error}"
    if answer.status != 200:
        return None, f"{settings.api_url} answered {answer.status}"
    return schemas, ""
