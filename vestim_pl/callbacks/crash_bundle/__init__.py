"""Record a step, locate the fault if it goes wrong, write a bundle, replay it."""
