"""Expressions over batches: a plugin builds them, the host computes them."""
