"""What every process shares; imports nothing from the other rooms."""
