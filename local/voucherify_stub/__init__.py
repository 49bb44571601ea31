"""A server with Voucherify's API."""
