"""TODO fae.dataset."""
