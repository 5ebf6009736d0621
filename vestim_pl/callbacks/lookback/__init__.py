"""Train on shorter windows where that changes nothing, or at first."""
