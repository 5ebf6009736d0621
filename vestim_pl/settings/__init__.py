"""Check values of settings, shared by all."""
