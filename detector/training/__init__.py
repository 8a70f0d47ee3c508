"""Training of the region classifier."""
