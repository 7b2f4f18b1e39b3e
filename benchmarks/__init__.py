"""What is measured against what: each module prints a ratio of two things run in turn in one session."""
