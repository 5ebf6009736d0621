"""Recordings, windows and streams."""
