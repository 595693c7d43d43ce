"""TODO fae.format."""
