"""Sources and their frames."""
