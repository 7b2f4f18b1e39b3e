"""What a feature is: one file per feature view, the store that keeps tables, the SQL catalog over them."""
