"""Draws comparisons of panels, the alpha track and contact sheets."""
