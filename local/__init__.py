"""The whole system on one machine: moto for AWS, a stand-in for Voucherify, an HTTP front."""
