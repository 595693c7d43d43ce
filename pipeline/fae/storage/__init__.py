"""TODO fae.storage."""
