"""TODO fae.ingestion."""
