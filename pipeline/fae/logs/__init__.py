"""TODO fae.logs."""
