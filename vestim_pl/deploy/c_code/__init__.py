"""Plain C99 of a trained estimator, for a microcontroller."""
