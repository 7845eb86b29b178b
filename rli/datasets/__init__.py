"""Labelled data sets going out: annotations, splits, manifest, card, formats."""
