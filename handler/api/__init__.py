"""One HTTP request, from API Gateway's event to the reply."""
