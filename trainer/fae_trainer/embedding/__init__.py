"""TODO fae_trainer.embedding."""
