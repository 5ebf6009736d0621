"""Resume exactly, handle interrupts, log events and epochs, and configure the CPU."""
