"""What weights come to, and which of them cannot do what they seem to be for. Pure.

A check moves a VIP only when its failure brings a node strictly below another. The tutorials' 210 with weight 10
against 200 with the same weight does not: 220 falls to 210, and the other stands at 210.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .model import Track

LOWEST, HIGHEST, OWNER = 1, 254, 255


def contribution(track: Track, *, good: bool) -> int:
    """What a check adds to the priority while it is good, or while it is not; keepalived's table, without numbers."""
    weight = -track.weight if track.reverse else track.weight
    return weight if good == (track.weight > 0) else 0


def clamped(priority: int) -> int:
    """Within what a router that does not own the addresses may have."""
    return min(HIGHEST, max(LOWEST, priority))


def too_small(
    tracks: Iterable[Track], *, node: str, own: int, successor: tuple[str, int] | None
) -> Iterator[tuple[Track, str]]:
    """The checks whose failure alone moves nothing away from `node`, and a sentence why.

    `own` is its priority, `successor` name and priority of the next one below it, if there is one; all checks are taken
    to be good everywhere else.
    """
    weighted = [track for track in tracks if track.weight and not _counts_numbers(track)]
    if own == OWNER:
        yield from ((track, "an owner's priority, 255, never changes: its weight does nothing") for track in weighted)
        return
    if successor is None or not weighted:
        return
    healthy = sum(max(contribution(track, good=True), contribution(track, good=False)) for track in weighted)
    before, other = clamped(own + healthy), clamped(successor[1] + healthy)
    for track in weighted:
        after = clamped(own + healthy - abs(track.weight))
        if after >= other:
            advice = _what_helps(track, own=own, successor=successor[1], healthy=healthy)
            yield (
                track,
                f"weight {track.weight} brings {node} from {before} to {after} when it fails, not below "
                f"the {other} of {successor[0]}: nothing moves{advice}",
            )


def _what_helps(track: Track, *, own: int, successor: int, healthy: int) -> str:
    """The end of a sentence. A weight that is cut off at 254 does as little when it is larger."""
    weight, before, other = abs(track.weight), own + healthy, clamped(successor + healthy)
    if before <= HIGHEST:
        return f"; it takes {before - other + 1} or more"
    needed = max(weight, own - successor + 1)
    if contribution(track, good=True) > 0 or contribution(track, good=False) > 0:
        before += needed - weight  # it is among what is added while all is well
    lower = before - HIGHEST
    if successor - lower < LOWEST:
        return f": priorities are cut at {HIGHEST}; the weights that are added come to {healthy}, lower them"
    more = f", and it takes {needed} or more" if needed > weight else ""
    return f": priorities are cut at {HIGHEST}; lower spec.priority by {lower}{more}"


def _counts_numbers(track: Track) -> bool:
    """What a file's number will be is not in the document."""
    return track.kind == "file" and not dict(track.check).get("exists")
