"""Factors of the learning rate: warmup and plateau."""
