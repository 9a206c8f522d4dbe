"""Invertible maps of vectors, for guides that are not normal."""
