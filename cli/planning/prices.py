"""AWS's list prices in us-east-1, in US dollars, without any free tier. docs/cost.md has the prices of the rest."""

from __future__ import annotations

from typing import NamedTuple


class Price(NamedTuple):
    """A price, and where and when it was read."""

    usd: float
    each: str
    source: str
    read_on: str


API_REQUEST = Price(
    1.00e-6,
    "request of an HTTP API",
    "https://docs.aws.amazon.com/whitepapers/latest/best-practices-api-gateway-private-apis-integration/cost-optimization.html",
    "2026-11-25",
)
LAMBDA_REQUEST = Price(0.20e-6, "request of Lambda", "https://cloudchipr.com/blog/aws-lambda-pricing", "2026-11-25")
GB_SECOND = Price(
    0.0000133334, "GB-second of Lambda on arm64", "https://cloudchipr.com/blog/aws-lambda-pricing", "2026-11-25"
)
SQS_REQUEST = Price(0.40e-6, "request of SQS", "https://cloudburn.io/blog/amazon-sqs-pricing", "2026-11-25")
DYNAMODB_WRITE = Price(
    0.625e-6,
    "write of DynamoDB on demand",
    "https://airbyte.com/data-engineering-resources/dynamodb-pricing",
    "2026-11-25",
)
DYNAMODB_READ = Price(
    0.125e-6,
    "read of DynamoDB on demand",
    "https://airbyte.com/data-engineering-resources/dynamodb-pricing",
    "2026-11-25",
)
