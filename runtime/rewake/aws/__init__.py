"""What all that speaks to AWS shares: credentials, signatures and requests."""
