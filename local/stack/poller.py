"""Lambda's event source for SQS on this machine: it hands batches of the retry queue to the retry worker.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from cli.planning.deployment import WORKER_TIME_OUT_SECONDS
from handler.redelivery import lambda_handler
from local.stack.aws import LocalAws
from local.stack.front import LambdaContext

FUNCTION_TIME_OUT_SECONDS = WORKER_TIME_OUT_SECONDS


def poll_once(aws: LocalAws, seconds: float = FUNCTION_TIME_OUT_SECONDS) -> int:
    """Receive a batch, hand it to the retry worker, delete the settled messages, and return the size of the batch.

    The worker times out after `seconds`.
    """
    queue_url = aws.environment["RETRY_QUEUE_URL"]
    answer = aws.sqs.receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
    )
    messages: list[dict[str, Any]] = list(answer.get("Messages", []))  # type: ignore[arg-type] # TypedDicts
    if messages:
        kept = lambda_handler(sqs_event(messages), LambdaContext(seconds))["batchItemFailures"]
        kept_ids = {item["itemIdentifier"] for item in kept}
        for message in messages:
            if message["MessageId"] not in kept_ids:
                aws.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    return len(messages)


@contextmanager
def polling(aws: LocalAws) -> Iterator[None]:
    """Hand over messages as they become visible, in a `with`, from a thread."""
    stopping = Event()

    def poll() -> None:
        while not stopping.is_set():
            if not poll_once(aws):
                stopping.wait(1)

    thread = Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def sqs_event(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return Lambda's event for received messages."""
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {
                    name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                    for name, value in message.get("MessageAttributes", {}).items()
                },
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:RetryQueue",
                "awsRegion": "eu-west-1",
            }
            for message in messages
        ]
    }
