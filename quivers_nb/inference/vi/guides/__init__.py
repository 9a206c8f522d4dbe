"""Guides, one per file."""
