"""`script`, `tcp`, `http`: run again and again in the checks process; this side keeps the pace and counts.

A run that gets no answer (the checks process ended, or hangs) is no result; without any result for too long the check
is bad, and says so.
"""

from __future__ import annotations

from collections.abc import Callable

from vip_api.model import Track, VirtualIP
from vip_api.values import duration_ms

from vip_speaker.health.damping import RiseFall
from vip_speaker.health.facts import Fact, Verdict, bad, unknown
from vip_speaker.health.runner import Outcome, Request
from vip_speaker.health.tracker import Surroundings, Tracker
from vip_speaker.router.timers import Deadline

_MS = 1_000_000
# Beyond interval and timeout: a killed script's grace, and the start of a new checks process.
PATIENCE_NS = 10_000 * _MS
# After an answer that never came, or that said "still busy".
_RETRY_NS = 200 * _MS
_BEGINS_AS_FAILED = Fact(verdict=Verdict.BAD, reason="counts as failed until it is good (initFail)", presumed=True)


class RemoteTracker(Tracker):
    """One check that is run every `interval`, never twice at the same time."""

    def __init__(self, track: Track, vip: VirtualIP, around: Surroundings, moved: Callable[[], None]) -> None:
        super().__init__(track, vip, around, moved)
        self._interval_ns = duration_ms(self.check["interval"]) * _MS
        self._timeout_ns = duration_ms(self.check.get("timeout", self.check["interval"])) * _MS
        first = _BEGINS_AS_FAILED if self.check.get("initFail") else unknown("has not run yet")
        self._counted = RiseFall(rise=self.check["rise"], fall=self.check["fall"], first=first)
        self._fact: Fact = first
        self._run = Deadline(self._run_now)
        self._overdue = Deadline(self._give_up)
        self._number: int | None = None
        self._next_ns = around.loop.now_ns()
        around.loop.others.set(self._run, self._next_ns)
        self._expect_by(self._next_ns)

    def fact(self) -> Fact:
        """The last result, by rise and fall."""
        return self._fact

    def close(self) -> None:
        """Run it no more."""
        for deadline in (self._run, self._overdue):
            self.around.loop.others.set(deadline, None)
        if self._number is not None:
            self.around.runner.forget(self._number)

    def _run_now(self, now_ns: int) -> None:
        self._next_ns = now_ns + self._interval_ns  # never two starts closer than that, also after a stall
        assignment = self.vip.assignment
        vrid = self.vip.spec.virtual_router_id if assignment is None else assignment.virtual_router_id
        request = Request(
            key=f"{self.vip.name}/{self.track.name}",
            kind=self.track.kind,
            check=self.check,
            timeout_ms=self._timeout_ns // _MS,
            environment={"VIP": self.vip.name, "VRID": str(vrid or ""), "STATE": self.around.role(self.vip.name)},
        )
        self._number = self.around.runner.run(request, self._ended)

    def _ended(self, outcome: Outcome) -> None:
        now_ns = self.around.loop.now_ns()
        self._number = None
        if outcome.good is None:
            self._next_ns = now_ns + min(_RETRY_NS, self._interval_ns)
        else:
            self._expect_by(now_ns)
            verdict = Verdict.GOOD if outcome.good else Verdict.BAD
            self._put(self._counted.put(Fact(verdict=verdict, reason=outcome.reason)))
        self.around.loop.others.set(self._run, max(self._next_ns, now_ns))

    def _expect_by(self, now_ns: int) -> None:
        deadline_ns = now_ns + self._interval_ns + self._timeout_ns + PATIENCE_NS
        self.around.loop.others.set(self._overdue, deadline_ns)

    def _give_up(self, _now_ns: int) -> None:
        why = self.around.runner.problem or "the checks process does not answer"
        self._put(self._counted.assume(bad(f"no result: {why}")))

    def _put(self, fact: Fact) -> None:
        before, self._fact = self._fact, fact
        if fact != before:
            self.moved()
