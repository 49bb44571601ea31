"""The smoke test: sends events through a running system and says what it saw."""
