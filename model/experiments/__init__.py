"""Does the text help? Arms, controls, folds and seeds, each run once and kept; summaries with intervals."""
