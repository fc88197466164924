"""Rendering of batches of frames under mixed weights."""
