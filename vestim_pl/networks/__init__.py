"""Networks under one protocol: ``(inputs, state) -> (voltage, state)``."""
