"""Checks of what values mean: sign, units and intervals, within a recording and among recordings."""
