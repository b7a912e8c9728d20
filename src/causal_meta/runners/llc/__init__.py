"""Local learning coefficients: network targets, estimates, searches for settings."""
