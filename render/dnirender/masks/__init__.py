"""Alpha over the picture: masks, wipes, and the levels of mixtures that they need."""
