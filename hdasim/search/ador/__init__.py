"""ADOR's three-step search: from service levels and constraints to a chip."""
