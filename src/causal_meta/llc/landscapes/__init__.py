"""Loss landscapes around a point, of networks, formulas and torch modules."""
