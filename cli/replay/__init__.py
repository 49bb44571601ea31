"""Sends events from files and archives."""
