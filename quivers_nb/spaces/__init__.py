"""What the language knows without tensors: objects, supports, families, effects."""
