"""`vip-operator`: run the operator, or one of the chart's jobs (`release`, `apply`, `check`)."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kubernetes import client, config
from prometheus_client import start_http_server

from vip_operator import chart_jobs, health, watch
from vip_operator.api import Api
from vip_operator.lease import Lease
from vip_operator.loop import Loop
from vip_operator.store import Store

logger = logging.getLogger("vip_operator")

PROGRAM = "vip-operator"
CRD_WAIT_S = 2.0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("kopf", "kubernetes", "urllib3", "aiohttp"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    configuration = _configuration()
    api = Api(configuration, namespace=options.namespace)
    match options.command:
        case "release":
            return chart_jobs.release(api, config_map=options.speaker_template, timeout_s=options.timeout)
        case "apply":
            return chart_jobs.apply(api, file=options.file, timeout_s=options.timeout)
        case "check":
            return chart_jobs.check(api, config_map=options.speaker_template, timeout_s=options.timeout)
    return _run(options, api, configuration)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("command", nargs="?", choices=("run", "release", "apply", "check"), default="run")
    parser.add_argument("--namespace", default=os.environ.get("POD_NAMESPACE", "kube-vrrp"))
    parser.add_argument("--speaker-template", default="kube-vrrp-speaker", help="ConfigMap with daemonset.yaml")
    parser.add_argument("--lease", default="kube-vrrp-operator", help="the Lease that is held for every write")
    parser.add_argument("--metrics-port", type=int, default=7472, help="0: no metrics")
    parser.add_argument("--health-port", type=int, default=8080, help="0: no health endpoint")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--timeout", type=float, default=25.0, help="of a job: seconds to wait at most")
    parser.add_argument("--file", type=Path, help="apply: the manifests")
    return parser


def _configuration() -> client.Configuration:
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        config.load_kube_config(client_configuration=configuration)
    return configuration


def _run(options: argparse.Namespace, api: Api, configuration: client.Configuration) -> int:
    store = Store(config_map=options.speaker_template)
    holder = f"{os.environ.get('POD_NAME', socket.gethostname())}_{os.getpid()}"
    lease = Lease(api, name=options.lease, holder=holder, config_map=options.speaker_template)
    anew = watch.Anew()
    loop = Loop(api, store, lease, config_map=options.speaker_template, ask_anew=anew.ask)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.metrics_port:
        start_http_server(options.metrics_port, addr=health.ANY_ADDRESS)
    if options.health_port:
        health.serve(options.health_port, loop)
    if not _wait_for_resource(api, stop, alive=loop.beat):
        return 0
    ended = threading.Event()

    def follow() -> None:
        watch.follow(
            store,
            namespace=options.namespace,
            login=lambda: watch.connection(configuration),
            poke=loop.poke,
            relist=loop.relist,
            forget=loop.forget,
            anew=anew,
            served=lambda: _wait_for_resource(api, stop),
            stop=stop,
        )

    threads = [
        _start("reconcile", loop.run, ended),
        _start("watch", follow, ended),
    ]
    while not stop.is_set() and not ended.is_set():
        stop.wait(0.5)
    asked = stop.is_set()
    stop.set()
    loop.stop()
    for thread in threads:
        thread.join(timeout=10)
    return 0 if asked else 1


def _wait_for_resource(api: Api, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> bool:
    """Until the CRD is served; without it kopf would watch nothing and say nothing. Meanwhile it says that it is
    `alive`.
    """
    told = False
    while not stop.is_set():
        alive()
        try:
            if api.resource_is_served():
                return True
            reason = "the CustomResourceDefinition virtualips.kube-vrrp.io is not installed"
        except Exception as error:
            reason = str(error)
        if not told:
            logger.warning("waiting for the API: %s", reason)
            told = True
        stop.wait(CRD_WAIT_S)
    return False


def _start(name: str, target: object, ended: threading.Event) -> threading.Thread:
    assert callable(target)

    def run() -> None:
        try:
            target()
        except Exception:
            logger.exception("%s ended with an error", name)
        finally:
            ended.set()
            time.sleep(0)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
