"""Opens videos and images and decodes their frames."""
