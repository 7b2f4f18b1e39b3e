"""Metrics of a trained model, with intervals and controls."""
