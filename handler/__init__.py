"""The AWS and HTTP edge: API Gateway, SSM, SQS and Voucherify's API around the pure `mapping`."""

from __future__ import annotations

__version__ = "0.1.0"
