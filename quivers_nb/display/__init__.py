"""Pictures made of words: a small part tree, and its readings as text and as HTML."""
