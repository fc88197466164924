"""Tools on weights files: what a file is, and new files from others."""
