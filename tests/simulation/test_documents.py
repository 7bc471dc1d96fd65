"""Documents, links, neighbours and the kernel at random against the real router of one host (one seed, one run).

What must hold at every instant at which the router rests is looked at after every step. In the end everything is healed
and nobody else speaks: every VIP that is in nobody's way is MASTER in time, and after a stop nothing is left.
`python -m tests.simulation.test_documents 0 2000` runs more seeds, with one seed alone it prints the run.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from random import Random

import pytest
from vip_speaker.kernel.links import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_SETLINK
from vip_speaker.kernel.virtual_mac import ARP_ANNOUNCE, ARP_IGNORE
from vip_speaker.router.instance import Instance
from vip_speaker.vrrp.machine import deadline
from vip_speaker.vrrp.types import (
    MS,
    SECOND,
    MasterState,
)
from vip_speaker.wire.neighbour import decode_announcement

from tests.simulation.documents import LINKS, NAMES, TRACKED, Document, changed, draw, meaning
from tests.simulation.neighbours import Neighbours
from tests.simulation.node import SILENCE
from tests.simulation.router import VirtualHost
from tests.simulation.rules import broken_rules, kernel_has_what_is_held, scoped
from tests.simulation.search import search
from tests.simulation.served import not_served, share
from tests.simulation.surroundings import Surroundings

log = logging.getLogger(__name__)

SEEDS = range(40)
BATCH = 10
# What is tried again is so within two seconds, and a check moves a VIP once a second.
AGAIN_NS = 4 * SECOND
LONGEST_NS = 12 * SECOND  # a master-down interval, of whoever was heard last


class Play:
    """One run. `found` is what should not be."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.random = random = Random(seed)
        self.host = VirtualHost(random, directory, address_lifetime_s=random.choice((None, None, None, 0)))
        self.found: list[str] = []
        self.in_force: dict[str, Document] = {}  # the last good document of each file that is there
        self.spoilt: set[str] = set()  # files that say nothing now
        self.stopping = False
        self._began_ns = self.host.now_ns
        self.surroundings = Surroundings(self.host, random, self._tell)
        self.neighbours = Neighbours(self.host, random, self._tell)

    def run(self) -> None:
        host = self.host
        with host:
            for name, addresses in LINKS.items():
                host.node.plug_in(name, *addresses)
            host.node.plug_in(TRACKED)
            host.sent = self._sent
            host.start()
            host.run_for(0)
            for _ in range(self.random.randint(10, 50)):
                self._step()
                if self.found:
                    return
            if self.random.random() < 0.7:
                self._heal()
            if not self.found:
                self._stop()

    def _tell(self, what: str) -> None:
        log.info("%.3f %s", (self.host.now_ns - self._began_ns) / MS, what)

    # --- steps

    def _step(self) -> None:
        steps: list[tuple[int, Callable[[], None]]] = [
            (14, self._write),
            (2, self._spoil),
            (2, self._delete),
            (3, self.surroundings.touch_link),
            (2, self.surroundings.touch_address),
            (1, self.surroundings.change_weather),
            (16, self.neighbours.advertise),
            (4, self.neighbours.announce),
            (2, lambda: None),
        ]
        self.random.choices([step for _, step in steps], [weight for weight, _ in steps])[0]()
        self._look()
        self.host.run_for(self.random.choice((0, 0, MS, 20 * MS, 200 * MS, SECOND, 5 * SECOND)))
        self._look()

    def _write(self) -> None:
        name = self.random.choice(NAMES)
        before = self.in_force.get(name)
        document = draw(self.random, name) if before is None else changed(self.random, before)
        self._tell(f"{name}: {json.dumps(document)}")
        self._alone(name, before, document, lambda: self._put(name, document))

    def _put(self, name: str, document: Document) -> None:
        self.host.write(name, json.dumps(document))
        self.in_force[name] = document
        self.spoilt.discard(name)

    def _spoil(self) -> None:
        """A file that nobody understands changes nothing."""
        if not self.in_force:
            return
        name = self.random.choice(list(self.in_force))
        self._tell(f"{name}: spoilt")
        bad = {**self.in_force[name], "spec": {"addresses": ["10.0.0.300"]}}
        texts = ("", "{", "]", "\0", json.dumps(bad), json.dumps({**bad, "kind": "Secret"}))
        known = self.host.daemon.instances
        before = {each: _situation(one) for each, one in known.items() if not _about_to_move(self.host, one)}
        self._alone(
            name,
            self.in_force[name],
            self.in_force[name],
            lambda: self.host.write(name, self.random.choice(texts)),
        )
        self.spoilt.add(name)
        one = self.host.daemon.instances.get(name)
        after = None if one is None else _situation(one)
        if before.get(name, after) != after:
            self.found.append(f"{name} is {after} by a bad document, was {before[name]}")

    def _delete(self) -> None:
        if not self.in_force:
            return
        name = self.random.choice(list(self.in_force))
        before = self.in_force[name]
        if self.random.random() < 0.5:
            self._tell(f"{name}: deleted")
            gone = {**before, "metadata": {**before["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
            self._alone(name, before, None, lambda: self.host.write(name, json.dumps(gone)))
            one = self.host.daemon.instances.get(name)
            if one is not None and one.holding.assigned and RTM_DELADDR not in self.host.node.refused:
                self.found.append(f"{name} is deleted and still holds {one.holding.assigned}")
        self._tell(f"{name}: no file")
        self.host.remove(name)
        del self.in_force[name]
        self.spoilt.discard(name)
        if self.random.random() < 0.5:
            self.host.run_for(SECOND)

    def _alone(self, name: str, before: Document | None, after: Document | None, do: Callable[[], None]) -> None:
        """Whatever happens to one document, the VIPs that share nothing with it stay as they are."""
        host = self.host
        host.settle()
        others = {
            each: _situation(one)
            for each, one in host.daemon.instances.items()
            if each != name
            and one.resolved is not None
            and not _about_to_move(host, one)
            and not any(share(one.vip, meaning(known), one) for known in (before, after) if known is not None)
            and not self._shares_with_what_is_held(name, one)
        }
        do()
        host.daemon._documents._look_now(host.now_ns)  # whenever the event would have said so
        host.loop.rearm()
        host.run_for(2 * MS)
        for each, situation in others.items():
            one = host.daemon.instances.get(each)
            if one is None or _situation(one) != situation:
                now = None if one is None else _situation(one)
                self.found.append(f"{each} is {now} by the document of {name}, was {situation}")

    def _shares_with_what_is_held(self, name: str, other: Instance) -> bool:
        """An instance in its last moments counts with what it was, not with what its document says."""
        one = self.host.daemon.instances.get(name)
        return one is not None and share(one.vip, other.vip, other)

    # --- what must hold whenever the router rests

    def _look(self) -> None:
        self.host.settle()
        self.found += broken_rules(self.host, stopping=self.stopping)

    def _sent(self, ifindex: int, frame: bytes) -> None:
        """Nobody announces what is not on the link, or what is held in silence."""
        announced = _announced(frame)
        if announced is None or announced.answers:
            return
        node = self.host.node
        there = [link for link in node.links.values() if link.find(announced.address) is not None]
        # What was lost and is refused when it is put back is tried again, and announced meanwhile: it is nobody else's.
        if not there and not node.events.waiting and RTM_NEWADDR not in node.refused:
            self.found.append(f"{announced.address} is announced and on no link")
        if announced.address in node.silent and not scoped(announced.address) and SILENCE not in node.refused:
            self.found.append(f"{announced.address} is announced in silence")

    # --- the end

    def _heal(self) -> None:
        host = self.host
        self._tell("healed")
        self.surroundings.heal()
        for name in sorted(self.spoilt):
            self._put(name, self.in_force[name])
        host.run_for(AGAIN_NS + LONGEST_NS)
        self._look()
        self.found += not_served(host, self.in_force)

    def _stop(self) -> None:
        host = self.host
        self._tell("stop")
        self.stopping = True
        host.daemon.stop()
        host.loop.rearm()
        if self.random.random() < 0.5:
            for _ in range(3):
                self.random.choice(
                    (self.neighbours.advertise, self.neighbours.announce, self.surroundings.touch_link, lambda: None)
                )()
                host.run_for(self.random.choice((0, MS, 100 * MS)))
                if not host.daemon.left.is_set():
                    self._look()
        if self.random.random() < 0.3 and not host.daemon.left.is_set():
            self._tell("stop again")
            host.daemon.stop()
            if not host.daemon.left.is_set():
                self.found.append("a second stop does not end it at once")
        host.run_for(LONGEST_NS + host.late_ns)
        if not host.daemon.left.is_set():
            self.found.append(f"does not leave: {[(one.name, one.state) for one in host.daemon.instances.values()]}")
            return
        self.found += kernel_has_what_is_held(self.host, stopping=True)
        host.end()
        node = host.node
        if not {RTM_SETLINK, RTM_DELLINK} & node.refused:
            self.found += [f"{link.name} is left" for link in node.links.values() if link.kind == "macvlan"]
            self.found += [
                f"{link.name} is left with other settings"
                for link in node.links.values()
                if link.settings[ARP_IGNORE] or link.settings[ARP_ANNOUNCE]
            ]
        self.found += [f"{one} is left open" for one in host.sockets if not one.closed]
        self.found += [f"a reader of {fd} is left" for fd in host._readers]


_announced = lru_cache(maxsize=1 << 14)(decode_announcement)


def _situation(one: Instance) -> tuple[object, ...]:
    """What a user sees of a VIP, and what it holds."""
    return one.role, one.holding.assigned


def _about_to_move(host: VirtualHost, one: Instance | None) -> bool:
    """A VIP whose time has come anyhow, within the few milliseconds that a document takes."""
    if one is None:
        return False
    if isinstance(one.state, MasterState):
        # one whose timers come late may find that it stood still; what the kernel refused is tried again
        return host.late_ns >= SECOND or bool(one.holding.problem)
    at_ns = deadline(one.state)
    return at_ns is not None and at_ns < host.now_ns + 5 * SECOND


def simulate(seed: int) -> Play:
    with tempfile.TemporaryDirectory() as directory:
        play = Play(seed, Path(directory))
        try:
            play.run()
        except Exception:  # whatever escapes ends the router
            play.found.append(traceback.format_exc())
        return play


def violations(seed: int) -> Iterator[str]:
    yield from simulate(seed).found[:3]


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_whatever_happens_the_router_holds_what_it_may(first: int):
    for seed in range(first, first + BATCH):
        found = list(violations(seed))
        assert not found, f"seed {seed}: {found}"


if __name__ == "__main__":
    if len(sys.argv) == 2:
        told = logging.StreamHandler(sys.stdout)
        told.setFormatter(logging.Formatter("%(vip)s: %(message)s", defaults={"vip": "-"}))
        logging.basicConfig(level=logging.INFO, handlers=[told])
        print(*simulate(int(sys.argv[1])).found, sep="\n")
        sys.exit(0)
    logging.disable()
    sys.exit(search(violations, int(sys.argv[1]), int(sys.argv[2])))
