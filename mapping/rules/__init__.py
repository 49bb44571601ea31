"""The rows of a mapping setting, compiled once and applied to each event: from a source to a destination."""
