"""TODO fae_trainer.run."""
