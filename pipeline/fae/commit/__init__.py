"""TODO fae.commit."""
