"""Interop tests need root, namespaces and the real peers; without them they are skipped, saying which is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import FRR_DAEMONS
from tests.scene import Scene, scene


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    for command in ("ip", "tcpdump", "tshark", "keepalived", f"{FRR_DAEMONS}/vrrpd"):
        if shutil.which(command) is None:
            return f"needs {command}: run scripts/setup"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    reason = _missing()
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.netns)
            item.add_marker(pytest.mark.interop)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def lan(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A fresh network; tests that fail show what the routers printed and the last lines of tcpdump."""
    with scene(ip_forward=getattr(request, "param", 0)) as here:
        yield here
        print(here.told())  # pytest shows it for a test that failed
