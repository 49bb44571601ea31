"""The requests to Voucherify that an event becomes."""
