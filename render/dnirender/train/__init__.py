"""Training of the embedded effects. Nothing here is needed to render."""
