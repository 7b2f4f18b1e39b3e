"""Bringing everything up to date, or leaving the last good version in its place."""
