"""Runs tracked with Weights & Biases."""
