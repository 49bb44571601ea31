"""Counts and compares the requests of many events."""
