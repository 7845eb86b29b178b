"""Labelled data sets: annotations, splits, manifest, card, formats."""
