"""The floor of the bench: the smallest handler on the same libraries that delivers an event, logs it and counts it.

It trusts its events, has no deadline and loses what Voucherify does not accept. It imports nothing of this project, so
that it can be packaged alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import boto3
import urllib3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

CONNECTIONS = 16
KEPT_SECONDS = 15 * 24 * 60 * 60

logger = Logger(service="minimal")
metrics = Metrics(namespace="Minimal", service="minimal")
threads = ThreadPoolExecutor(CONNECTIONS)  # started by the first batch


@cache
def read_settings() -> dict[str, str]:
    path = os.environ["SETTINGS_PATH"]
    found = boto3.client("ssm").get_parameters_by_path(Path=path, Recursive=True, WithDecryption=True)
    return {parameter["Name"].rpartition("/")[2]: parameter["Value"] for parameter in found["Parameters"]}


@cache
def voucherify() -> urllib3.HTTPConnectionPool:
    settings = read_settings()
    headers = {
        "X-App-Id": settings["apiKey"],
        "X-App-Token": settings["apiToken"],
        "Content-Type": "application/json",
    }
    return urllib3.connection_from_url(settings["apiUrl"], maxsize=CONNECTIONS, headers=headers)


@cache
def dynamodb() -> Any:
    return boto3.client("dynamodb")


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    body = event["body"].encode()
    signature = hmac.new(read_settings()["sharedSecret"].encode(), body, hashlib.sha1).hexdigest()
    if not hmac.compare_digest(signature, event["headers"]["x-signature"]):
        return {"statusCode": 401}
    received = json.loads(body)
    delivered = sum(threads.map(deliver, received) if isinstance(received, list) else [deliver(received)])
    logger.info("request", extra={"delivered": delivered})
    metrics.add_metric("Delivered", MetricUnit.Count, delivered)
    metrics.flush_metrics()
    return {"statusCode": 200, "body": json.dumps({"delivered": delivered})}


def deliver(event: dict[str, Any]) -> bool:
    customer = {"source_id": event["userId"]}
    if event["type"] == "identify":
        traits = event["traits"]
        return post("/v1/customers", {**customer, "name": traits["name"], "email": traits["email"]})
    custom_event = {"event": event["event"], "customer": customer, "metadata": event["properties"]}
    table = os.environ.get("DEDUPLICATION_TABLE")
    return post_once(table, event["messageId"], custom_event) if table else post("/v1/events", custom_event)


def post_once(table: str, message_id: str, custom_event: dict[str, Any]) -> bool:
    key = {"id": {"S": f"minimal#{message_id}"}}
    dynamodb().put_item(
        TableName=table,
        Item={**key, "status": {"S": "INPROGRESS"}, "expiration": {"N": str(int(time.time()) + KEPT_SECONDS)}},
        ConditionExpression="attribute_not_exists(id)",
    )
    is_delivered = post("/v1/events", custom_event)
    dynamodb().update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET #status = :completed",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":completed": {"S": "COMPLETED"}},
    )
    return is_delivered


def post(path: str, content: dict[str, Any]) -> bool:
    return voucherify().request("POST", path, json=content, retries=False).status == 200
