"""Record what reproduces a step that went wrong, locate the fault, write a bundle, replay it."""
