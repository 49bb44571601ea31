"""Incidents on the local system, so that the runbook can be rehearsed."""
