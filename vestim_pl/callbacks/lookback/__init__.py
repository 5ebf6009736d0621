"""Train on shorter windows, either at first or where the earlier steps do not matter."""
