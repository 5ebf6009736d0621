"""Readers: from a file to checked columns in standard units."""
