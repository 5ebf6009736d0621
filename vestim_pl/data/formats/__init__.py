"""Readers: one file to one table with the standard columns."""
