"""How often a check may change its mind. Pure: instants are given, in nanoseconds of one clock."""

from __future__ import annotations

from vip_speaker.health.facts import Fact, Verdict


class RiseFall:
    """Results of repeated runs: `fall` bad ones in a row make it bad, `rise` good ones good.

    From UNKNOWN the first one decides, whatever it is.
    """

    def __init__(self, *, rise: int, fall: int, first: Fact) -> None:
        self.fact = first
        self._needed = {Verdict.GOOD: rise, Verdict.BAD: fall}
        self._in_a_row = 0

    def put(self, result: Fact) -> Fact:
        """The fact after one more run."""
        if self.fact.verdict in (Verdict.UNKNOWN, result.verdict):
            self._in_a_row = 0
            self.fact = result
            return self.fact
        self._in_a_row += 1
        if self._in_a_row >= self._needed[result.verdict]:
            self._in_a_row = 0
            self.fact = result
        return self.fact

    def assume(self, fact: Fact) -> Fact:
        """Go on from a fact that no run has brought, and count anew. From UNKNOWN the first run still decides."""
        self._in_a_row = 0
        if self.fact.verdict is not Verdict.UNKNOWN:
            self.fact = fact
        return fact


class Hold:
    """At most one change per `interval_ns`, so that what flaps moves the VIP at most that often.

    The first change after a quiet time passes at once; of those that follow too soon the last one counts, later.
    """

    def __init__(self, first: Fact, *, interval_ns: int) -> None:
        self.fact = first
        self.deadline_ns: int | None = None
        """When `look` has something to show; None: nothing waits."""
        self._latest = first
        self._interval_ns = interval_ns
        self._changed_ns: int | None = None

    def put(self, latest: Fact, now_ns: int, *, urgent: bool = False) -> bool:
        """What is true now; whether `fact` moved. `urgent`: it may not wait."""
        self._latest = latest
        return self.look(now_ns, urgent=urgent)

    def look(self, now_ns: int, *, urgent: bool = False) -> bool:
        """Let through what has waited long enough; whether `fact` moved."""
        before, self.deadline_ns = self.fact, None
        if self._latest.same_as(before):
            self.fact = self._latest
            return self.fact != before
        due_ns = now_ns if self._changed_ns is None else self._changed_ns + self._interval_ns
        if now_ns < due_ns and not urgent:
            self.deadline_ns = due_ns
            return False
        if before.verdict is not Verdict.UNKNOWN:
            self._changed_ns = now_ns
        self.fact = self._latest
        return True
