"""How rows lie on disk: the row store, the published tables, and the one way to write a file whole."""
