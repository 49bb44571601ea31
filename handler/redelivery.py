"""The function behind the retry queue."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSEvent

from handler.retry_worker import RetryWorker
from handler.runtime import Runtime
from handler.settings.environment import Environment


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Deliver a batch of the retry queue. The answer names the messages that stay in the queue.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
    """
    seconds = context.get_remaining_time_in_millis() / 1000
    request_id = getattr(context, "aws_request_id", "")
    kept = retry_worker().handle(SQSEvent(event).records, seconds, request_id)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in kept]}


@cache
def retry_worker() -> RetryWorker:
    """Return the worker, made with the first batch and kept for the life of the execution environment.

    Raises FaultyEnvironment, and tries again with the next batch.
    """
    return Runtime(Environment.read(os.environ)).retry_worker()
