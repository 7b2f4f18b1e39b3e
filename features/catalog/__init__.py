"""What people and programs see of the tables: SQL, search, differences of versions, checks."""

from features.catalog.sql import connect, query, refresh

__all__ = ["connect", "query", "refresh"]
