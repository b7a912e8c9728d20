"""Estimates of the learning coefficient from draws, their errors and flags."""
