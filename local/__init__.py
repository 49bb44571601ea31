"""The whole system on one machine: moto for AWS, a stub for Voucherify, an HTTP API before the function."""
