"""Pure functions and plain types, independent of the rest of vestim_pl."""
