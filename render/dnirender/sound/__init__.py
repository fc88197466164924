"""What the sound of a clip does: its beats and its loudness."""
