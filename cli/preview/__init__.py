"""Comparison of mappings."""
