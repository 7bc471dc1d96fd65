"""Weights that cannot do what they seem to be for. Pure; says only what a document itself shows.

A check moves a VIP only when its failure brings this node strictly below another. The tutorials' 210 with weight 10
against 200 with the same weight does not: 220 falls to 210, and the other stands at 210.
"""

from __future__ import annotations

from collections.abc import Iterator

from vip_api.model import Track, VirtualIP

from vip_speaker.health.evaluate import contribution
from vip_speaker.health.facts import bad, good


def weight_warnings(vip: VirtualIP) -> list[str]:
    """One sentence per check whose failure alone moves nothing, as far as the priorities of others are known."""
    return [f"spec.track: {track.name}: {text}" for track, text in _warnings(vip)]


def _warnings(vip: VirtualIP) -> Iterator[tuple[Track, str]]:
    assigned = vip.assignment
    own = vip.spec.priority if assigned is None else assigned.priority
    weighted = [track for track in vip.spec.track if track.weight and not _counts_numbers(track)]
    if own == 255:
        yield from ((track, "an owner's priority, 255, never changes: its weight does nothing") for track in weighted)
        return
    if own is None or assigned is None:
        return
    below = [peer for peer in assigned.peers if peer.priority < own]
    if not below:
        return
    successor = max(below, key=lambda peer: peer.priority)
    healthy = sum(max(_values(track)) for track in weighted)
    for track in weighted:
        before, after, other = (
            _clamped(own + healthy),
            _clamped(own + healthy - abs(track.weight)),
            _clamped(successor.priority + healthy),
        )
        if after >= other:
            yield (
                track,
                (
                    f"weight {track.weight} brings this node from {before} to {after} when it fails, not below "
                    f"the {other} of {successor.node}: nothing moves; it takes {before - other + 1} or more"
                ),
            )


def _values(track: Track) -> tuple[int, int]:
    return contribution(track, good("")), contribution(track, bad(""))


def _counts_numbers(track: Track) -> bool:
    """What a file's number will be is not in the document."""
    return track.kind == "file" and not dict(track.check).get("exists")


def _clamped(priority: int) -> int:
    return min(254, max(1, priority))
