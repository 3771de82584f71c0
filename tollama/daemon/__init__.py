"""Serving: HTTP front, service, scheduler, runner processes."""
