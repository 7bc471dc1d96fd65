"""What several modules here tell stories with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.simulation.router import VirtualHost
from tests.unit.vip_speaker.router.story import Story


@pytest.fixture(name="story")
def _story(tmp_path: Path) -> Iterator[Story]:
    with VirtualHost(Random(1), tmp_path, address_lifetime_s=None) as host:
        yield Story(host)
