"""From crystals of any kind to predictions, through the same feature functions that made the training data."""
