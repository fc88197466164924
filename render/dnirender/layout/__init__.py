"""What a frame of the output shows."""
