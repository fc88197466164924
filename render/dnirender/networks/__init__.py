"""Checkpoints, networks and the mixing of their weights."""
