"""What a tracker knows of its check at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether a check is good; UNKNOWN until there is a first result."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """`reason` is a clause that a person reads behind the check's name. `number`: what a tracked file holds.

    `passing`: it may be so for a moment only, while somebody writes, and has to be found twice. `presumed`: no result
    stands behind it, the entry says how the check begins.
    """

    verdict: Verdict
    reason: str
    number: int | None = None
    passing: bool = False
    presumed: bool = False

    @property
    def is_result(self) -> bool:
        """Whether somebody looked."""
        return self.verdict is not Verdict.UNKNOWN and not self.presumed

    def same_as(self, other: Fact) -> bool:
        """Whether it moves the priority alike, however it is worded."""
        return (self.verdict, self.number) == (other.verdict, other.number)


def good(reason: str) -> Fact:
    """A check that is good."""
    return Fact(verdict=Verdict.GOOD, reason=reason)


def bad(reason: str) -> Fact:
    """A check that is bad."""
    return Fact(verdict=Verdict.BAD, reason=reason)


def unknown(reason: str) -> Fact:
    """A check without a result."""
    return Fact(verdict=Verdict.UNKNOWN, reason=reason)
