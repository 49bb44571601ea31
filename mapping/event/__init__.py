"""The canonical event: Segment's names in one casing, and keys found in any."""
