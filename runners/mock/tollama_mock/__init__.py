"""The mock family: repeats the last value."""
