"""TODO fae.execution."""
