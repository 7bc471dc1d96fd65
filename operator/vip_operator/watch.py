"""kopf's part: watches that feed the store. Only `on.event` handlers, which write nothing to the objects.

kopf ends the process when the watched resource disappears or the watch reports an error other than 410; the
pod is restarted then, which is fine for an operator. Everything that is merely an outage is retried for ever.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from vip_operator.store import CONFIG_MAPS, DAEMON_SETS, NODES, PODS, VIPS, Store

RESOURCES = {
    VIPS: ("kube-vrrp.io", "v1alpha1", "virtualips"),
    NODES: ("", "v1", "nodes"),
    PODS: ("", "v1", "pods"),
    DAEMON_SETS: ("apps", "v1", "daemonsets"),
    CONFIG_MAPS: ("", "v1", "configmaps"),
}

CREDENTIALS_LIFETIME = timedelta(minutes=10)
"""Projected tokens are renewed in their file every hour; kopf itself would read the file once."""


class EndlessBackoff:
    """Delays in seconds between retries: growing to 10 s, jittered, without end, and iterable again and
    again.
    """

    def __iter__(self) -> Iterator[float]:
        delay = 0.2
        while True:
            yield delay * random.uniform(0.5, 1)  # noqa: S311 jitter
            delay = min(delay * 2, 10.0)


def registry(store: Store, poke: Callable[[], None], login: Callable[[], kopf.ConnectionInfo]) -> kopf.OperatorRegistry:
    """Handlers for all five resources, the login and the settings."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)  # type: ignore[untyped-decorator]
    async def _login(**_: Any) -> kopf.ConnectionInfo:
        return login()

    @kopf.on.startup(registry=handlers)  # type: ignore[untyped-decorator]
    async def _startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)

    def follow(kind: str) -> None:
        @kopf.on.event(*RESOURCES[kind], registry=handlers, id=kind)  # type: ignore[untyped-decorator]
        async def _event(event: Any, body: Any, **_: Any) -> None:
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
