"""What of a node's report is due: what differs from what the API server has, and is worth a write now. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vip_speaker.agent import listening
from vip_speaker.agent.desired import Document, is_assigned, is_unicast, own_entry
from vip_speaker.agent.report import entry, is_misnamed, is_news, is_rewording, mastership, silent, written
from vip_speaker.statefile import VirtualIPState, timestamp

log = logging.getLogger(__name__)

SILENT_AFTER_S = 2.0
"""A router that is started anew says nothing for less than this."""
LISTENING_S = 8.0
"""A router that waits for its virtual router ID has listened before that. Until then it has nothing to say that anybody
waits for, and with many new VIPs half of all writes would say so.
"""
ELECTION_S = 4.0
"""A router that begins as BACKUP has found a master before that, or is it (three intervals of 1 s): what it begins as
is not worth a write of its own.
"""
OTHERS_FIRST_S = 5.0
"""What a VirtualIP became first is told so much later at most, while others wait for their virtual router IDs: with
hundreds of new ones the API server and all who watch it would be busy with that instead.
"""
WAITING_S = 20.0
"""Who waits for longer will not get one soon."""
LOOK_AGAIN_S = 0.2
"""For whether they still wait."""
GATHER_S = 0.5
"""Whom a link's VIPs hear is not said again sooner for those that came since: they may be hundreds, one by one."""
REWORDING_S = 60.0
"""What a check has to say may differ with each of its runs: that alone is not worth more than a write a minute."""
AFTER_BUG_S = 60.0
"""What met a bug of ours is tried again then."""

LONG_AGO, NEVER = float("-inf"), float("inf")


@dataclass(slots=True)
class _Memory:
    """Of one VIP: the object, the document and the trouble that were compared last, and until when that need not be
    done again; when it was written last, the step of its beginning and since when it takes that; since when it waits
    for its virtual router ID, whether the API server ever had it take part, since when it has a first word to say;
    since when the router is silent.
    """

    body: Document | None = None
    state: VirtualIPState | None = None
    trouble: str = ""
    settled_until: float = LONG_AGO
    waits: bool = False
    written_at: float = LONG_AGO
    beginning: tuple[str, float] = "", LONG_AGO
    waits_since: float = LONG_AGO
    took_part: bool = False
    first_word_since: float | None = None
    silent_since: float | None = None


class Due:
    """What `node` has to write. `clock` and `wall_clock` in seconds."""

    def __init__(self, node: str, *, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._node, self._clock, self._wall_clock = node, clock, wall_clock
        self._memories: dict[str, _Memory] = {}
        self._given = frozenset[int]()
        self._heard_at: dict[object, float] = {}
        self._some_wait = False
        self.ending = False
        """The pod is: nothing is put off any more."""

    def statuses(
        self,
        bodies: Mapping[str, Document],
        states: Mapping[str, VirtualIPState],
        why_not: Callable[[str], str | None] = lambda _: None,
        trouble: Callable[[str], str] = lambda _: "",
    ) -> dict[str, dict[str, Any]]:
        """What is to be applied, by VIP, where the API server has `bodies` and the router says `states`. `why_not`: why
        its document about a VIP cannot be read. `trouble`: what the agent itself has to say about one.

        Where object and document are those that were compared before, nothing is: this runs fifty times a second.
        """
        due: dict[str, dict[str, Any]] = {}
        waiting: dict[str, tuple[Document, VirtualIPState]] = {}
        self._forget(bodies)
        now = self._clock()
        self._some_wait = any(m.waits and now - m.waits_since < WAITING_S for m in self._memories.values())
        for name, body in bodies.items():
            state, said = states.get(name), trouble(name)
            memory = self._memories.get(name)
            if memory is None:
                memory = self._memories[name] = _Memory()
            if memory.body is not body or memory.state is not state or memory.trouble != said:
                memory.body, memory.state, memory.trouble, memory.settled_until = body, state, said, LONG_AGO
                waited, memory.waits = memory.waits, state is not None and self._waits(body, state)
                memory.waits_since = memory.waits_since if waited else now
            if memory.waits and state is not None:
                waiting[name] = body, state
            elif now >= memory.settled_until:
                try:
                    change, memory.settled_until = self._compare(memory, body, state, why_not)
                except Exception:
                    log.exception("%s: a bug of kube-vrrp; what the API server has of it stays", name)
                    change, memory.settled_until = None, now + AFTER_BUG_S
                if change is not None:
                    due[name] = change
        for name, report in listening.reports(waiting, bodies.values(), self._node).items():
            if now >= self._heard_at.get(report.get("interface"), LONG_AGO) + GATHER_S:
                due[name] = {"nodes": [{"node": self._node, **report}]}
        return due

    def wrote(self, name: str, status: Mapping[str, Any]) -> None:
        """The API server answered to it."""
        now = self._clock()
        self._memories[name].written_at = now
        self._heard_at.update((own.get("interface"), now) for own in status.get("nodes", ()) if "link" in own)

    def _forget(self, bodies: Mapping[str, Document]) -> None:
        """What is gone; and where a virtual router ID is given no more, all comparisons: who is heard under it may be a
        stranger.
        """
        same = all(name in self._memories and self._memories[name].body is body for name, body in bodies.items())
        if same and len(bodies) == len(self._memories):
            return
        self._memories = {name: one for name, one in self._memories.items() if name in bodies}
        given = _given(bodies)
        if self._given - given:
            for memory in self._memories.values():
                memory.settled_until = LONG_AGO
        self._given = given

    def _waits(self, body: Document, state: VirtualIPState) -> bool:
        return not self.ending and is_assigned(body, self._node) and listening.waits(body, state, self._node)

    def _compare(
        self,
        memory: _Memory,
        body: Document,
        state: VirtualIPState | None,
        why_not: Callable[[str], str | None],
    ) -> tuple[dict[str, Any] | None, float]:
        """The status to apply, or None where nothing differs; and until when the same two need not be compared."""
        own = written(own_entry(body, self._node))
        if not is_assigned(body, self._node):
            memory.silent_since = None
            return ({}, LONG_AGO) if own else (None, NEVER)
        if state is None:
            wanted = self._silence(memory, why_not(body["metadata"]["name"]))
        elif (until := self._begins_until(memory, body, state, own)) > self._clock():
            return None, until
        elif self._lets_others_go_first(memory, body, state, own):
            return None, self._clock() + LOOK_AGAIN_S
        else:
            memory.silent_since = None
            wanted = entry(state, memory.trouble)
        if wanted is None:
            return None, LONG_AGO
        if also_for := (own.get("link") or {}).get("alsoFor") if "link" in wanted else None:
            wanted["link"] = listening.with_others(wanted["link"], also_for)
        mine = mastership(self._node, wanted)
        misnamed = is_misnamed(mine, body.get("status") or {})
        if not misnamed and not is_news(wanted, own, self._given):
            return None, LONG_AGO if state is None else NEVER
        again_at = memory.written_at + REWORDING_S
        if (
            not misnamed
            and self._clock() < again_at
            and state is not None
            and is_rewording(wanted, own, state, memory.trouble)
        ):
            return None, again_at
        return {**mine, "nodes": [{"node": self._node, **wanted}]}, LONG_AGO

    def _begins_until(self, memory: _Memory, body: Document, state: VirtualIPState, own: Mapping[str, Any]) -> float:
        """Until when a report that says more will come soon: whom the router heard while it listened, so that the
        operator can choose a virtual router ID; then what became of it in the election.
        """
        has_vrid = "virtualRouterID" in (body.get("status") or {})  # then the router will take part in a moment
        is_listening = (
            state.state == "INIT" and not state.virtualRouterID and (not state.link.subnets or has_vrid) and not own
        )
        is_electing = state.state == "BACKUP" and not state.master and own.get("state", "INIT") == "INIT"
        if self.ending or memory.trouble or is_unicast(body) or not (is_listening or is_electing):
            memory.beginning = "", LONG_AGO
            return LONG_AGO  # unicast peers wait for each other's address
        step = state.state + has_vrid * " with its virtual router ID"
        if memory.beginning[0] != step:
            memory.beginning = step, self._clock()
        return memory.beginning[1] + (LISTENING_S if is_listening else ELECTION_S)

    def _lets_others_go_first(
        self, memory: _Memory, body: Document, state: VirtualIPState, own: Mapping[str, Any]
    ) -> bool:
        """Whether what a new one became in its first election waits for those that have had none yet. What runs without
        a virtual router ID in the API does not: it is to be adopted.

        Until a MASTER is told a speaker that begins has all nodes ordered anew, as while nobody serves: a planned move.
        """
        memory.took_part |= own.get("state") in ("MASTER", "BACKUP")
        is_first_word = (
            (state.state == "MASTER" or (state.state == "BACKUP" and bool(state.master)))
            and not state.problems
            and state.splitBrain is None
            and not memory.took_part
            and (not own or "link" in own)
            and state.virtualRouterID == (body.get("status") or {}).get("virtualRouterID")
            and "virtualRouterID" not in (body.get("spec") or {})
        )
        if self.ending or memory.trouble or is_unicast(body) or not (self._some_wait and is_first_word):
            memory.first_word_since = None
            return False
        if memory.first_word_since is None:
            memory.first_word_since = self._clock()
        return self._clock() < memory.first_word_since + OTHERS_FIRST_S

    def _silence(self, memory: _Memory, why_not: str | None) -> dict[str, Any] | None:
        """What to report of a VIP without a state document: nothing yet, or that the router is silent."""
        if memory.silent_since is None:
            memory.silent_since = self._wall_clock()
        since = timestamp(memory.silent_since)
        if self.ending:
            return silent(since, "Stopped: the speaker is ending")
        if self._wall_clock() - memory.silent_since < SILENT_AFTER_S:
            return None
        if why_not is not None:
            return silent(since, f"NoRouter: the router's document about it {why_not}")
        return silent(since, "NoRouter: the router says nothing about it")


def _given(bodies: Mapping[str, Document]) -> frozenset[int]:
    """The virtual router IDs that the operator has given."""
    return frozenset(
        vrid for body in bodies.values() if isinstance(vrid := (body.get("status") or {}).get("virtualRouterID"), int)
    )
