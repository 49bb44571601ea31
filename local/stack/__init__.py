"""AWS, API Gateway and Lambda's poller on this machine."""
