"""Where photographs come from: sources, one reader for each layout, and safe names."""
