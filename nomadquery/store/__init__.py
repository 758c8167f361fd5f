"""Files, tables and pins on disk."""
