"""What recordings are, and which settings a training on them needs; nothing is trained."""
