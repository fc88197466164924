"""Loads checkpoints as networks and mixes their weights."""
