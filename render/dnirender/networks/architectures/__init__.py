"""Architectures that the project defines itself; published ones are loaded through spandrel."""
