"""The messages of the two queues, for the commands."""
