"""What a mapping makes of many events: counts, comparisons, and a mapping to start from."""
