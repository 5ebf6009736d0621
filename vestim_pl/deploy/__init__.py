"""What makes a trained checkpoint usable elsewhere."""
