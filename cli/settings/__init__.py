"""Reads, checks and writes settings, in Parameter Store and in files."""
