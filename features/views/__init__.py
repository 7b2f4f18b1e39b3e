"""The feature views: one file for each table."""
