"""What fits into a Voucherify plan: a model of the destination under load, and what it costs."""
