"""TODO fae_trainer.data."""
