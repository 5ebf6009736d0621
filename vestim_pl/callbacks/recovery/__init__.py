"""Return to the last good state with a smaller learning rate when training diverges."""
