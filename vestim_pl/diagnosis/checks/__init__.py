"""Checks of a training, one a file."""
