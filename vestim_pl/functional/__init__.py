"""Pure tensor functions: no Lightning, no state, no files."""
