"""Photographs coming in: sources, one reader for each layout, and safe names."""
