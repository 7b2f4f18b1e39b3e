"""Rewording descriptions: the rules, language models, and the check that no fact changes."""
