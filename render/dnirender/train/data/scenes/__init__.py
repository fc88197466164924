"""Pictures whose sky and lamps are known: photographs under rules set by hand, and streets that are drawn."""
