"""Variational inference: guides, objectives, and the loop that fits them."""
