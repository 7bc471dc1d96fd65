"""What a field of an API object holds, or nothing: whatever the API server let through, or a speaker wrote, is read
without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from vip_api.model import IPAddress


def parse_time(text: object) -> datetime | None:
    """An RFC 3339 time of the API (seconds or microseconds), or None."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def string(value: object) -> str | None:
    """The value where it is a text with anything in it."""
    return value if isinstance(value, str) and value else None


def address(value: object) -> IPAddress | None:
    """The value where it is an IP address."""
    try:
        return ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def integer(value: object) -> int | None:
    """The value where it is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
