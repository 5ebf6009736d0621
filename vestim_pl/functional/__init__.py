"""Pure functions and plain types below everything else; imports nothing of vestim_pl."""
