"""What template.yaml deploys, as the model and the soak need it. A test compares the two."""

from __future__ import annotations

from handler.settings.environment import Environment

# The retry worker: its event source, and its time-out in seconds.
BATCH_SIZE = 1000
BATCHING_WINDOW_SECONDS = 1.0
RETRY_CONCURRENCY = 2
WORKER_TIME_OUT_SECONDS = 90.0

MEMORY_GB = 1.0
REQUESTS_PER_SECOND = 100

# SQS moves a message that was received more often to the dead-letter queue.
MAX_RECEIVES = 500

# The environment variables, with their defaults.
ENVIRONMENT = Environment.read({"RETRY_QUEUE_URL": "retry", "DEAD_LETTER_QUEUE_URL": "dead"})
