"""Exact resume, interrupts, events, the epoch's line, and CPU settings."""
