"""Containers, pixel formats, color conversion and images, shared by decoding and encoding."""
