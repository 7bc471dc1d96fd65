"""`vip-speaker agent`: start the threads, watch over them, and end with the pod."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import REGISTRY, start_http_server

from vip_speaker.agent.api import Api
from vip_speaker.agent.directory import DesiredDirectory
from vip_speaker.agent.metrics import NodeCollector
from vip_speaker.agent.reflector import Reflector
from vip_speaker.agent.reporter import Reporter
from vip_speaker.agent.store import Store
from vip_speaker.agent.writer import Writer
from vip_speaker.statedirectory import StateDirectory

log = logging.getLogger("vip_speaker.agent")

STUCK_AFTER_S = 400.0
"""No thread is silent for longer, not even in a watch without events: that one ends itself after 90 s."""


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM (0), or until a thread died or is stuck (1). Never because of the API."""
    options = _parser().parse_args(arguments)
    if not options.node:
        sys.stderr.write("vip-speaker agent: --node or NODE_NAME is required\n")
        return 2
    logging.basicConfig(
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    api = Api.connect(namespace=options.namespace)
    store = Store()
    states = StateDirectory(options.state_dir)
    directory = DesiredDirectory(options.desired_dir)
    reflector = Reflector(api, store, holding=directory.holding)
    writer = Writer(store, directory, api, node=options.node, stale=reflector.is_stale)
    reporter = Reporter(store, states, api, node=options.node, trouble=writer.password_problem)
    store.subscribe(writer.poke)
    _serve_metrics(options.metrics_address, NodeCollector(states, reflector, reporter))
    return _run(reflector, writer, reporter, grace_s=options.grace)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vip-speaker agent", description=__doc__)
    parser.add_argument("--node", default=os.environ.get("NODE_NAME", ""), help="this node's name (NODE_NAME)")
    parser.add_argument("--namespace", default=os.environ.get("POD_NAMESPACE", "kube-vrrp"))
    parser.add_argument("--desired-dir", type=Path, default=Path("/run/kube-vrrp/desired"))
    parser.add_argument("--state-dir", type=Path, default=Path("/run/kube-vrrp/state"))
    parser.add_argument("--metrics-address", default="", help="HOST:PORT, [IPv6]:PORT; empty: no metrics")
    parser.add_argument("--grace", type=float, default=8.0, help="seconds for the router's last words")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


def _serve_metrics(address: str, collector: NodeCollector) -> None:
    """A port that is taken costs the metrics, not the VIPs."""
    if not address:
        return
    REGISTRY.register(collector)
    host, _, port = address.rpartition(":")
    try:
        start_http_server(int(port), addr=host.strip("[]") or "0.0.0.0")  # noqa: S104 as asked for
    except OSError as error:
        log.error("no metrics: %s: %s", address, error)


def _run(reflector: Reflector, writer: Writer, reporter: Reporter, *, grace_s: float) -> int:
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    died = threading.Event()
    parts = (reflector, writer, reporter)
    threads = [_start(type(part).__name__, part.run, died) for part in parts]
    while not asked.wait(1.0):
        stuck = [type(p).__name__ for p in parts if time.monotonic() - p.beat_at > STUCK_AFTER_S]
        if died.is_set() or stuck:
            log.critical("a thread died or is stuck (%s): ending", ", ".join(stuck) or "see above")
            return 1
    writer.stop()
    reporter.finish(within_s=grace_s)
    threads[-1].join(timeout=grace_s + 2)
    reflector.stop()
    return 0


def _start(name: str, target: Callable[[], None], died: threading.Event) -> threading.Thread:
    def run() -> None:
        try:
            target()
        except Exception:
            log.exception("%s died", name)
            died.set()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
