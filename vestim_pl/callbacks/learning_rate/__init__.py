"""Factors on the learning rate: warmup and plateau."""
