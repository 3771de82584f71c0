"""The page, served from memory. Nothing is fetched from anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tollama.daemon.http_message import Reply, Request


def page(request: Request) -> Reply | None:
    """The page for a browser that asks for HTML; None for everyone else."""
    return None
