"""Loss landscapes around a point: of networks, of formulas, and of torch modules."""
