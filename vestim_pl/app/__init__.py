"""What the commands share: configuration, logging, processes and the folder of a run."""
