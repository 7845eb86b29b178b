"""A run: configuration, memory, the runner, its results."""
