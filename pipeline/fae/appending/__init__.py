"""TODO fae.appending."""
