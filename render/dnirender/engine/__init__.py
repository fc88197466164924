"""Batches under the weights of their alphas."""
