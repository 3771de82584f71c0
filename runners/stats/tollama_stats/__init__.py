"""The embedded forecasters: classical statistical methods, standard library only."""
