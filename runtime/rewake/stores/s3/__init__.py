"""S3, and what speaks as it does: a shelf for large values."""
