"""AWS, API Gateway and Lambda's event source on this machine."""
