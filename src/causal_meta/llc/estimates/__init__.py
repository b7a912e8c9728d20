"""Estimates of the learning coefficient from draws, with their errors and flags."""
