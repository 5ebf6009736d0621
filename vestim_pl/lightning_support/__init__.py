"""The only code that touches Trainer internals or patches anything."""
