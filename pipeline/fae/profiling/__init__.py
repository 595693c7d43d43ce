"""TODO fae.profiling."""
