"""Index arithmetic, samplers and datasets of windows and streams."""
