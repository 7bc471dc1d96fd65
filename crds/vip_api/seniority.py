"""Which of several VirtualIPs comes first, where only one can be first. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def seniority(metadata: Mapping[str, Any]) -> tuple[str, str]:
    """A key that sorts objects by age, the oldest first, and those of one second by name.

    The operator serves the older one when two claim the same, and gives virtual router IDs in this order. The agents
    rely on that: on each link the youngest that waits speaks for all, so that its report stays until all have theirs.
    """
    # the API server writes whole seconds in UTC, always in the same form: as text they sort as they do as times
    return str(metadata.get("creationTimestamp", "")), str(metadata["name"])
