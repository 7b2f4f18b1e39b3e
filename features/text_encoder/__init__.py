"""Frozen text encoders: their weights, what is done to a text before the tokenizer, and the vectors."""

from features.text_encoder.encoder import EncodedText, TextEncoder, load

__all__ = ["EncodedText", "TextEncoder", "load"]
