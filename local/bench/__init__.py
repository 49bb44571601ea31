"""What each part of the function costs."""
