"""Reads, filters, moves and exports the messages of the two queues."""
