"""Renders from file to file."""
