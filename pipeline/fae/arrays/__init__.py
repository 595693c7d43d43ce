"""TODO fae.arrays."""
