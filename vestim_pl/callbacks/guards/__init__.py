"""Catch non-finite losses, gradients and parameters in the step where they arise."""
