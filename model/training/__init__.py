"""Training: the loop, its state on disk, several processes."""
