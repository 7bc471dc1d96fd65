"""kopf's part: watches that feed the store. Only `on.event` handlers, which write nothing to the objects.

kopf gives up all its watches at an answer such as a 404, while an aggregated API or a restored control plane is not
complete yet; and where a connection is lost it resumes the watch, which is wrong after a backup was restored
(docs/decisions/set-back.md). In both cases all of them are begun anew, with lists, for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import kopf

from vip_operator.api import SOCKET_OPTIONS
from vip_operator.store import CONFIG_MAPS, DAEMON_SETS, NODES, PODS, VIPS, Store

logger = logging.getLogger(__name__)

RESOURCES = {
    VIPS: ("kube-vrrp.io", "v1alpha1", "virtualips"),
    NODES: ("", "v1", "nodes"),
    PODS: ("", "v1", "pods"),
    DAEMON_SETS: ("apps", "v1", "daemonsets"),
    CONFIG_MAPS: ("", "v1", "configmaps"),
}

WATCH_S = 330
"""After this the server ends a watch, and kopf resumes it."""
EARLY_S = 1.0
"""A watch that is resumed by more than this before that was cut."""
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


class NoEssence(kopf.DiffBaseStorage):
    """For handlers of changes kopf copies each object of each event and takes away what is of no interest to them, also
    where there are none: half of what an event costs.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Of any object."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """None was stored."""

    def store(self, **_: Any) -> None:
        """Nowhere: the objects are not written."""


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


class Anew:
    """Somebody asks for new watches. From any thread."""

    def __init__(self) -> None:
        self._reason = ""

    def ask(self, reason: str) -> None:
        """Have the present watches ended, and say why."""
        self._reason = self._reason or reason

    def take(self) -> str:
        """Why new ones are asked for, or nothing; from then on it is no longer asked for."""
        reason, self._reason = self._reason, ""
        return reason


class Session:
    """What kopf's requests go through: each with the token as it then is in its file, and `anew` is asked for when
    kopf resumes a watch before its time, or is refused. kopf says nothing of either.
    """

    def __init__(
        self,
        login: Callable[[], kopf.ConnectionInfo],
        anew: Anew,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._login, self._anew, self._clock = login, anew, clock
        self._begun: dict[str, float] = {}
        self._opened: aiohttp.ClientSession | None = None

    def open(self) -> kopf.AiohttpSession:
        """The credentials for kopf. It asks once, and again when they are refused: then for as long as that lasts,
        without a pause, and would lose some of its watches over it.
        """
        if self._opened is not None:
            reason = "the credentials were refused (401), or the session with the API server broke"
            self._anew.ask(reason)
            raise kopf.PermanentError(reason)
        info = self._login()
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._begins)
        self._opened = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context(), socket_factory=_socket),
            trace_configs=[trace],
        )
        return kopf.AiohttpSession(server=info.server, aiohttp_session=self._opened)

    async def close(self) -> None:
        """End whatever connection is left."""
        if self._opened is not None:
            await self._opened.close()

    async def _begins(self, _session: object, _context: object, request: aiohttp.TraceRequestStartParams) -> None:
        request.headers.update(self._login().as_http_headers())
        self.note(request.url.path, is_watch="watch" in request.url.query)

    def note(self, path: str, *, is_watch: bool) -> None:
        """A request is sent. A watch after a list begins; one after a watch resumes that."""
        former = self._begun.pop(path, None)
        if is_watch:
            self._begun[path] = self._clock()
            if former is not None and self._clock() - former < WATCH_S - EARLY_S:
                self._anew.ask(f"the watch of {path} was cut")


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket with our options, of which those that aiohttp makes have none."""
    family, kind, protocol, *_ = address
    opened = socket.socket(family, kind, protocol)
    for option in SOCKET_OPTIONS:
        opened.setsockopt(*option)
    return opened


def follow(
    store: Store,
    *,
    namespace: str,
    login: Callable[[], kopf.ConnectionInfo],
    poke: Callable[[], None],
    relist: Callable[[], None],
    forget: Callable[[], None],
    served: Callable[[], bool],
    anew: Anew,
    stop: threading.Event,
) -> None:
    """Keep the store as the API server says, until `stop`. `relist` is called when something may have been missed, and
    `forget` when the watches have ended, for whatever reason, and what they showed may be of another history; `served`
    waits until the CRD is there (or `stop`, then it is False): kopf watches what there is when it begins.
    """
    pace = Paced()
    while not stop.wait(pace.delay_s()) and served():
        session = Session(login, anew)
        try:
            _operate(registry(store, poke=poke, relist=relist, session=session), session, namespace, anew, stop)
        except Exception as error:
            logger.warning("the watches ended and are begun anew: %s: %s", type(error).__name__, error)
            forget()


def _operate(
    handlers: kopf.OperatorRegistry, session: Session, namespace: str, anew: Anew, stop: threading.Event
) -> None:
    """Run kopf's tasks in an event loop of their own until `stop`, or raise what the first of them died of.

    kopf's own end waits for every watch, and one that is cancelled while it connects goes on instead; so what is left
    after a moment is left behind with its loop.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_tasks_end(handlers, namespace, anew, stop))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=LEAVE_BEHIND_S))
        loop.run_until_complete(session.close())
        loop.close()


async def _tasks_end(handlers: kopf.OperatorRegistry, namespace: str, anew: Anew, stop: threading.Event) -> None:
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
        if reason := anew.take():
            raise RuntimeError(reason)
        for task in done:
            task.result()
        if done:
            raise RuntimeError(f"{next(iter(done)).get_name()} ended")


def registry(
    store: Store,
    *,
    poke: Callable[[], None],
    relist: Callable[[], None],
    session: Session,
) -> kopf.OperatorRegistry:
    """Handlers for all five resources, the login and the settings."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)  # type: ignore[untyped-decorator]
    async def _login(**_: Any) -> kopf.AiohttpSession:
        return session.open()

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
    settings.persistence.diffbase_storage = NoEssence()
    settings.networking.error_backoffs = EndlessBackoff()
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = WATCH_S
    settings.watching.client_timeout = 400
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = SILENCE_S


def connection(configuration: Any) -> kopf.ConnectionInfo:
    """The client's server and credentials, with the token as it is now: a projected one is renewed in its file."""
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
    )


def _plain(body: Any) -> dict[str, Any]:
    """Kopf hands out live views that change under the reader."""
    return dict(body)
