"""Import, in the process that execution environments are forked from, whatever takes longest in a cold start.

It makes AWS clients only because boto3 then keeps the descriptions of the services in memory.
"""

from __future__ import annotations

import gc

import aws_lambda_powertools.utilities.idempotency
import boto3

import handler.app
import handler.redelivery
import local.stack.front

__all__ = ["aws_lambda_powertools", "handler", "local"]

boto3.setup_default_session(region_name="eu-west-1", aws_access_key_id="local", aws_secret_access_key="local")

for _client in (boto3.client("ssm"), boto3.client("sqs"), boto3.client("dynamodb")):
    _client.close()

# No garbage collection of an execution environment goes through the objects that are loaded here.
gc.collect()
gc.freeze()
