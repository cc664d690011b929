"""Training: what is trained, one step, the epochs."""
