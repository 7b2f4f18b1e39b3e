"""From tables to batches of tensors."""
