"""What is on this machine: families, models, runtimes, downloads."""
