"""Findings about a text: where, what, why, and one way out; and how they are shown."""
