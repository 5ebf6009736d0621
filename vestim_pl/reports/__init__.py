"""Reports of runs and sweeps."""
