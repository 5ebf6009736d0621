"""What the commands share; the only package that imports Hydra."""
