"""What runs keep on disk: a photograph's record, and inversions."""
