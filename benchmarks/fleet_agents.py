"""`python -m benchmarks.fleet_agents FOLDER`: many agents in one process, for `benchmarks.fleet`.

Reflector, store, writer and reporter are the agent's own, each agent with a connection and a token of its own. What is
played is the router (a state for each document, and an election without packets) and the agent's polling: a turn is
taken when there is something new, because hundreds of pollers do not fit one interpreter.

Reads commands from standard input: `lose NODE`, `count`; answers in lines of JSON.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kubernetes import client
from vip_speaker.agent.api import Api
from vip_speaker.agent.directory import DesiredDirectory
from vip_speaker.agent.reflector import Reflector
from vip_speaker.agent.reporter import Reporter
from vip_speaker.agent.store import Store
from vip_speaker.agent.writer import Writer
from vip_speaker.statedirectory import StateDirectory
from vip_speaker.statefile import Link, VirtualIPState, timestamp

MASTER_DOWN_S = 3.02
LISTENING_S = 3.0
WORKERS = 2
MASTER_ADDRESS = "192.168.137.1"
"""Whose advertisements a BACKUP hears: who that is plays no part in what agents do."""


class CountingApi(Api):
    """Notes what its list and watch cost."""

    listed_bytes = watched_bytes = events = 0

    def watch(self, version: str, seconds: int) -> Iterator[dict[str, Any]]:
        """The events; their bytes are those of the lines that came."""
        for event in super().watch(version, seconds):
            self.events += 1
            yield event

    def _call(self, method: str, path: str, **options: Any) -> Any:
        answer = super()._call(method, path, **options)
        if (options.get("query") or {}).get("watch"):
            stream = answer.response.stream

            def counted(**how: Any) -> Iterator[bytes]:
                for chunk in stream(**how):
                    self.watched_bytes += len(chunk)
                    yield chunk

            answer.response.stream = counted
        return answer


class Router:
    """States for documents, as a router whose link carries every advertisement."""

    def __init__(self, states: dict[str, dict[str, Any]]) -> None:
        self._states = {name: VirtualIPState(name=name, **fields) for name, fields in states.items()}
        self._began: dict[str, float] = {}

    def states(self, documents: dict[str, Any], lost: dict[str, float]) -> tuple[dict[str, VirtualIPState], float]:
        """What the router would have written by now, and in how many seconds that may change by itself."""
        self._states = {name: state for name, state in self._states.items() if name in documents}
        wait_s = float("inf")
        for name, document in documents.items():
            again_s = self._advance(name, document, lost)
            wait_s = min(wait_s, again_s)
        return dict(self._states), wait_s

    def _advance(self, name: str, document: dict[str, Any], lost: dict[str, float]) -> float:
        assignment, now = document["assignment"], time.monotonic()
        began = self._began.setdefault(name, now)
        state = self._states.get(name)
        if state is None:
            state = VirtualIPState(name=name, state="INIT", interface="eth0", since=timestamp(time.time()))
        vrid = assignment.get("virtualRouterID", 0)
        left = float("inf")
        if not vrid:
            if now - began >= LISTENING_S:
                state = replace(state, link=Link(subnets=("192.168.137.0/24",)))
            else:
                left = began + LISTENING_S - now
        else:
            better = [p for p in assignment["peers"] if p["priority"] > assignment["priority"]]
            gone = [lost[p["node"]] for p in better if p["node"] in lost]
            if state.state == "INIT":
                state = self._turned(state, "BACKUP", vrid, assignment["priority"])
                if len(gone) < len(better):  # whom it hears at once; without a master it would have nothing to say yet
                    state = replace(state, master=MASTER_ADDRESS)
            if state.state == "BACKUP" and len(gone) == len(better):
                due = max(gone, default=began) + MASTER_DOWN_S
                if now >= due:
                    state = self._turned(state, "MASTER", vrid, assignment["priority"])
                else:
                    left = due - now
        self._states[name] = state
        return left

    @staticmethod
    def _turned(state: VirtualIPState, role: Any, vrid: int, priority: int) -> VirtualIPState:
        since = timestamp(time.time())
        turned = replace(state, state=role, virtualRouterID=vrid, effectivePriority=priority, since=since)
        return replace(turned, link=Link(), reason="", master="")


class Agent:
    """One node's agent, driven by the pool of this process."""

    def __init__(self, given: dict[str, Any], server: dict[str, str], fleet: Fleet) -> None:
        self.node, self.fleet, self.lost = given["node"], fleet, False
        configuration = client.Configuration(host=server["host"])
        configuration.ssl_ca_cert = server["authority"]
        configuration.api_key = {"authorization": f"Bearer {given['token']}"}
        self.api = CountingApi(configuration, namespace="kube-vrrp")
        folder = Path(given["folder"])
        folder.mkdir(parents=True)
        self.store, self.router = Store(), Router(given["states"])
        self.writer = Writer(self.store, DesiredDirectory(folder), self.api, node=self.node)
        self.reporter = Reporter(self.store, StateDirectory(folder), self.api, node=self.node)
        self.store.subscribe(lambda: fleet.wake(self))
        self.reflector = Reflector(self.api, self.store, holding=lambda: True)
        self._thread = threading.Thread(target=self.reflector.run, daemon=True)

    def start(self) -> None:
        """Reflect from here on."""
        self._thread.start()

    def turn(self) -> None:
        """Write documents, report states: what the two threads of an agent do."""
        if self.lost or not self.store.listed.is_set():
            return
        self.writer.synchronise(thoroughly=False)
        states, wait_s = self.router.states(self.writer._present, self.fleet.lost)  # saves reading the files
        self.reporter.report(states)
        if wait_s != float("inf"):
            threading.Timer(max(wait_s, 0.01), self.fleet.wake, [self]).start()

    def lose(self) -> None:
        """Power off."""
        self.lost = True
        self.reflector.stop()


class Fleet:
    """All agents of this process, and the few threads that take their turns."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.lost: dict[str, float] = {}
        self._pending: set[Agent] = set()
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Agent] = queue.SimpleQueue()
        self.agents = {given["node"]: Agent(given, plan["server"], self) for given in plan["agents"]}

    def wake(self, agent: Agent) -> None:
        """It has something to do."""
        with self._lock:
            if agent not in self._pending:
                self._pending.add(agent)
                self._queue.put(agent)

    def run(self) -> None:
        """Take turns until the input ends."""
        for _ in range(WORKERS):
            threading.Thread(target=self._work, daemon=True).start()
        for agent in self.agents.values():
            agent.start()
            time.sleep(0.02)
        for line in sys.stdin:
            command, _, node = line.strip().partition(" ")
            if command == "lose":
                self.lost[node] = time.monotonic()
                if node in self.agents:
                    self.agents[node].lose()
                for agent in self.agents.values():
                    self.wake(agent)
            print(json.dumps(self._count()), flush=True)

    def _work(self) -> None:
        while True:
            agent = self._queue.get()
            with self._lock:
                self._pending.discard(agent)
            agent.turn()

    def _count(self) -> dict[str, Any]:
        agents = self.agents.values()
        return {
            "listed": sum(a.store.listed.is_set() for a in agents),
            "watching": sum(a.api.watched_bytes > 0 or a.store.listed.is_set() for a in agents),
            "watched_bytes": [a.api.watched_bytes for a in agents],
            "events": [a.api.events for a in agents],
            "pending": len(self._pending),
        }


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    threading.stack_size(512 * 1024)
    Fleet(json.loads(Path(sys.argv[1]).read_text())).run()
