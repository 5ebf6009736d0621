"""Callbacks for any Lightning project; they import nothing of vestim_pl but its pure functions."""
