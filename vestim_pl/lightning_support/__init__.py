"""The only code that touches the internals of Lightning's Trainer."""
