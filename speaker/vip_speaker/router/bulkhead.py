"""A bug of ours that one document brings out costs that VIP at most, not the router of all: decisions/bulkheads.md."""

from __future__ import annotations

import logging
from collections.abc import Set as AbstractSet

from vip_api.model import VirtualIP

from vip_speaker.vrrp.types import SECOND

log = logging.getLogger(__name__)


_SENTENCE = "InternalError: a bug of kube-vrrp that this document brings out; the router's log has it"


def report_bug(about: str) -> str:
    """Say all there is to say about the exception that is being handled. Returns what a status has room for."""
    log.exception("a bug of kube-vrrp, which ends nothing else", extra={"vip": about})
    return _SENTENCE


class Bugs:
    """The documents of this host that met one: what is said of it, and when such a document is tried again."""

    # Whatever else played a part in it may be another by then.
    RETRY_NS = 60 * SECOND

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self._met: dict[str, tuple[VirtualIP, int]] = {}
        self._logged: list[tuple[VirtualIP, int]] = []

    def met(self, vip: VirtualIP, now_ns: int) -> str:
        """The exception that is being handled is about `vip`. What a status has room for."""
        self._met[vip.name] = vip, now_ns
        self.log(vip, now_ns)
        self.problems[vip.name] = _SENTENCE
        return _SENTENCE

    def log(self, vip: VirtualIP, now_ns: int) -> None:
        """Say all of it, but not at each of a hundred links that come: once a minute for each document."""
        self._logged = [(one, at_ns) for one, at_ns in self._logged if now_ns - at_ns < self.RETRY_NS]
        if not any(one == vip for one, _ in self._logged):
            self._logged.append((vip, now_ns))
            report_bug(vip.name)

    def retry_at_ns(self, vip: VirtualIP) -> int | None:
        """When a document is to be looked at again that met one; None: it did not."""
        met, at_ns = self._met.get(vip.name, (None, 0))
        return at_ns + self.RETRY_NS if met == vip else None

    def over(self, name: str) -> None:
        """The newest document of `name` is understood."""
        self.problems.pop(name, None)
        self._met.pop(name, None)

    def keep(self, names: AbstractSet[str]) -> None:
        """Forget what is about any other VIP."""
        for name in self.problems.keys() - names:
            self.over(name)
