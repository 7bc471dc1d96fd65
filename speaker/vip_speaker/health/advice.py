"""Weights that move nothing, as far as this host knows the priorities of others. Pure."""

from __future__ import annotations

from vip_api.model import VirtualIP
from vip_api.weights import too_small


def weight_warnings(vip: VirtualIP) -> list[str]:
    """One sentence per check whose failure alone moves nothing."""
    assigned = vip.assignment
    own = vip.spec.priority if assigned is None else assigned.priority
    if own is None:
        return []
    below = [peer for peer in (assigned.peers if assigned is not None else ()) if peer.priority < own]
    best = max(below, key=lambda peer: peer.priority, default=None)
    successor = (best.node, best.priority) if best is not None else None
    found = too_small(vip.spec.track, node="this node", own=own, successor=successor)
    return [f"spec.track: {track.name}: {text}" for track, text in found]
