"""What comes back: paths, types and units, from JSON to Arrow to pandas."""
