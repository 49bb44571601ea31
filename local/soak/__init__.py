"""Load and faults for minutes."""
