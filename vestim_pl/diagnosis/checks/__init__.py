"""Checks of a run, one a file: each a pure function from what the run left to a finding."""
