"""What trainings are shown."""
