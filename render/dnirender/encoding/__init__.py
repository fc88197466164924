"""Writing what was rendered."""
