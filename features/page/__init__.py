"""One HTML file about all tables: what they mean, what is in them, where it comes from; it opens from disk."""

from features.page.page import write

__all__ = ["write"]
