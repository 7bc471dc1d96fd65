"""A bug of ours that one document brings out costs that VIP at most, not the router of all: decisions/bulkheads.md."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


def report_bug(about: str) -> str:
    """Say all there is to say about the exception that is being handled. Returns what a status has room for."""
    log.exception("a bug of kube-vrrp, which ends nothing else", extra={"vip": about})
    return "InternalError: a bug of kube-vrrp that this document brings out; the router's log has it"
