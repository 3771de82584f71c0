"""The command line: arguments, data files, terminal output."""
