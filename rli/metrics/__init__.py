"""What is measured of an image, and the columns of a result."""
