"""What the commands share: the only code that knows Hydra."""
