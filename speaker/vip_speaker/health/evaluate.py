"""Facts in, contribution and reason out. Pure; keepalived's table of weights, with one FAULT per check.

| weight        | good | bad    |
|---------------|------|--------|
| w > 0         | +w   | 0      |
| w < 0         | 0    | -|w|   |
| w > 0 reverse | -w   | 0      |
| w < 0 reverse | 0    | +|w|   |
| 0             | -    | FAULT  |
| 0 reverse     | FAULT| -      |

A file's number counts w times; what comes to less than -253 is FAULT, as it is with keepalived.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vip_api.model import Track
from vip_api.track import MAX_WEIGHT
from vip_api.weights import contribution as by_table

from vip_speaker.health.facts import Fact, Verdict, good
from vip_speaker.statefile import Contribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What all checks of one VIP mean together.

    `contribution` is added to the priority. `fault`: this host must not take part. `waiting`: it must not begin to.
    `release`: it gives the VIP up without haste.
    """

    contribution: int = 0
    parts: tuple[Contribution, ...] = ()
    fault: str | None = None
    waiting: str | None = None
    release: str | None = None


NO_CHECKS = Assessment()


def evaluate(checks: Iterable[tuple[Track, Fact]]) -> Assessment:
    """The sum, and every check that holds this host out by itself: one that recovers does not excuse another."""
    parts: list[Contribution] = []
    faults: list[str] = []
    waiting: list[str] = []
    for track, fact in checks:
        said = f"{track.name}: {fact.reason}"
        if track.weight == 0 and fact.verdict is Verdict.UNKNOWN:
            waiting.append(said)
        elif is_fault(track, fact):
            faults.append(said)
        value = contribution(track, fact)
        change = 0 if fact.verdict is Verdict.UNKNOWN else value - _when_well(track, fact)
        parts.append(Contribution(name=track.name, value=value, reason=fact.reason, change=change))
    return Assessment(
        contribution=sum(part.value for part in parts),
        parts=tuple(parts),
        fault="; ".join(faults) or None,
        waiting="; ".join(waiting) or None,
    )


def contribution(track: Track, fact: Fact) -> int:
    """What one check adds to the priority, -253..253."""
    if fact.number is not None:
        return max(-MAX_WEIGHT, min(MAX_WEIGHT, _product(track, fact.number)))
    return 0 if fact.verdict is Verdict.UNKNOWN else by_table(track, good=fact.verdict is Verdict.GOOD)


def _when_well(track: Track, fact: Fact) -> int:
    """What it adds while it is good; a number is well at 0."""
    return 0 if fact.number is not None else contribution(track, good(""))


def _product(track: Track, number: int) -> int:
    return number * (-track.weight if track.reverse else track.weight)


def is_fault(track: Track, fact: Fact) -> bool:
    """Whether a check holds this host out: one of weight 0, or a number that is lower than any priority."""
    if fact.number is not None and _product(track, fact.number) < -MAX_WEIGHT:
        return True
    return track.weight == 0 and fact.verdict is (Verdict.GOOD if track.reverse else Verdict.BAD)
