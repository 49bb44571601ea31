"""Delivery of events to Voucherify: order, rate limit, backoff."""
