"""Chronos-2 and Chronos-Bolt on NumPy alone."""
