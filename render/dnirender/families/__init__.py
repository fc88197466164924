"""Tunable networks other than fine-tuned ones: their modules, and their endpoints for the engine."""
