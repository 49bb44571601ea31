"""SQS and DynamoDB: failure records, idempotency records, deletion records."""
