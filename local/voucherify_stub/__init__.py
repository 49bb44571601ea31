"""A server that answers as Voucherify does."""
