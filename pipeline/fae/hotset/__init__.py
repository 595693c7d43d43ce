"""TODO fae.hotset."""
