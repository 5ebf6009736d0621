"""Measure, clip, perturb and trace gradients."""
