"""kopf's part: watches that feed the store. Only `on.event` handlers, which write nothing to the objects.

kopf itself waits out an outage, a 403 and a 429; it gives up all its watches at any other answer, such as a 404 while
an aggregated API or a restored control plane is not complete yet. Then they are begun anew, for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from vip_operator.store import CONFIG_MAPS, DAEMON_SETS, NODES, PODS, VIPS, Store

logger = logging.getLogger(__name__)

RESOURCES = {
    VIPS: ("kube-vrrp.io", "v1alpha1", "virtualips"),
    NODES: ("", "v1", "nodes"),
    PODS: ("", "v1", "pods"),
    DAEMON_SETS: ("apps", "v1", "daemonsets"),
    CONFIG_MAPS: ("", "v1", "configmaps"),
}

CREDENTIALS_LIFETIME = timedelta(minutes=10)
"""Projected tokens are renewed in their file every hour; kopf itself would read the file once."""

SILENCE_S = 90.0
"""A bookmark comes about once a minute, so a longer silence is a connection that is only half open."""
WELL_AFTER_S = 60.0
"""What went on for this long was well: the next failure is a first one again."""
STOP_POLL_S = 0.2
LEAVE_BEHIND_S = 1.0


class EndlessBackoff:
    """Delays in seconds between retries: growing to 10 s, jittered, without end, and iterable again and
    again.
    """

    def __iter__(self) -> Iterator[float]:
        delay = 0.2
        while True:
            yield delay * random.uniform(0.5, 1)  # noqa: S311 jitter
            delay = min(delay * 2, 10.0)


class Paced:
    """How long to wait before the next try of something that is tried again whenever it fails."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._delays = iter(EndlessBackoff())
        self._tried_at = float("-inf")

    def delay_s(self) -> float:
        """To be asked before every try; 0 for the first one, and for the first one after a good while."""
        rested = self._clock() - self._tried_at >= WELL_AFTER_S
        if rested:
            self._delays = iter(EndlessBackoff())
        wait_s = 0.0 if rested else next(self._delays)
        self._tried_at = self._clock() + wait_s
        return wait_s


def follow(
    store: Store,
    *,
    namespace: str,
    login: Callable[[], kopf.ConnectionInfo],
    poke: Callable[[], None],
    relist: Callable[[], None],
    served: Callable[[], bool],
    stop: threading.Event,
) -> None:
    """Keep the store as the API server says, until `stop`. `relist` is called when something may have been missed;
    `served` waits until the CRD is there (or `stop`, then it is False): kopf watches what there is when it begins.
    """
    pace = Paced()
    while not stop.wait(pace.delay_s()) and served():
        try:
            refused = threading.Event()
            handlers = registry(store, poke=poke, relist=relist, login=login, refused=refused.set)
            _operate(handlers, namespace, stop, refused)
        except Exception as error:
            logger.warning("the watches ended and are begun anew: %s: %s", type(error).__name__, error)


def _operate(handlers: kopf.OperatorRegistry, namespace: str, stop: threading.Event, refused: threading.Event) -> None:
    """Run kopf's tasks in an event loop of their own until `stop`, or raise what the first of them died of.

    kopf's own end waits for every watch, and one that is cancelled while it connects goes on instead; so what is left
    after a moment is left behind with its loop.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_tasks_end(handlers, namespace, stop, refused))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=LEAVE_BEHIND_S))
        loop.close()


async def _tasks_end(
    handlers: kopf.OperatorRegistry, namespace: str, stop: threading.Event, refused: threading.Event
) -> None:
    settings = kopf.OperatorSettings()
    configure(settings)
    tasks = await kopf.spawn_tasks(
        registry=handlers,
        settings=settings,
        standalone=True,
        identity="vip-operator",  # kopf would ask for a user name, which a pod's user does not have
        namespaces=[namespace],
    )
    while not stop.is_set():
        done, _ = await asyncio.wait(tasks, timeout=STOP_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        if refused.is_set():
            raise RuntimeError("401: the credentials are refused")
        for task in done:
            task.result()
        if done:
            raise RuntimeError(f"{next(iter(done)).get_name()} ended")


def registry(
    store: Store,
    *,
    poke: Callable[[], None],
    relist: Callable[[], None],
    login: Callable[[], kopf.ConnectionInfo],
    refused: Callable[[], None],
) -> kopf.OperatorRegistry:
    """Handlers for all five resources, the login and the settings. `refused` is called at a 401."""
    handlers = kopf.OperatorRegistry()
    expected_at = 0.0

    @kopf.on.login(registry=handlers)  # type: ignore[untyped-decorator]
    async def _login(**_: Any) -> kopf.ConnectionInfo:
        nonlocal expected_at
        if time.monotonic() < expected_at:
            # kopf would try again at once for as long as the answer is 401, and lose some of its watches over that
            refused()
            raise kopf.PermanentError("401: the credentials are refused")
        expected_at = time.monotonic() + CREDENTIALS_LIFETIME.total_seconds() / 2
        return login()

    @kopf.on.startup(registry=handlers)  # type: ignore[untyped-decorator]
    async def _startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)

    def follow(kind: str) -> None:
        @kopf.on.event(*RESOURCES[kind], registry=handlers, id=kind)  # type: ignore[untyped-decorator]
        async def _event(event: Any, body: Any, **_: Any) -> None:
            if event.get("type") is None:
                relist()  # kopf listed: of what was deleted before that, it says nothing
            take = store.remove if event.get("type") == "DELETED" else store.put
            if take(kind, _plain(body)):
                poke()

    for kind in RESOURCES:
        follow(kind)
    return handlers


def configure(settings: kopf.OperatorSettings) -> None:
    """What a long-lived, read-only watcher needs."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.error_backoffs = EndlessBackoff()
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = 330
    settings.watching.client_timeout = 400
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = SILENCE_S


def connection(configuration: Any) -> kopf.ConnectionInfo:
    """Kopf's credentials from the client's, to be asked for again before a projected token expires."""
    authorization = configuration.auth_settings().get("BearerToken", {}).get("value") or ""
    scheme, _, token = authorization.partition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        expiration=datetime.now(UTC) + CREDENTIALS_LIFETIME,
    )


def _plain(body: Any) -> dict[str, Any]:
    """Kopf hands out live views that change under the reader."""
    return dict(body)
