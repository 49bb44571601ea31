"""Delivery of events from files."""
