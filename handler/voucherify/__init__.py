"""Voucherify's API: how it is called, and what its answers mean."""
