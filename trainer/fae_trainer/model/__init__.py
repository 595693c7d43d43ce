"""TODO fae_trainer.model."""
