"""Encoders, muxing and output formats: from rendered images to files on disk."""
