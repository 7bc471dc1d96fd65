"""How conditions speak of many: the first few, and how many more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vip_api.model import IPAddress

SHOWN_NODES = 3
SHOWN_ADDRESSES = 3


def in_a_line(addresses: Sequence[IPAddress]) -> str:
    """The first few, and how many more there are."""
    more = f" +{len(addresses) - SHOWN_ADDRESSES}" if len(addresses) > SHOWN_ADDRESSES else ""
    return ", ".join(str(ip) for ip in addresses[:SHOWN_ADDRESSES]) + more


def names(nodes: Iterable[str]) -> str:
    """`node1, node2, node3 and 4 more`."""
    ordered = sorted(nodes)
    more = f" and {len(ordered) - SHOWN_NODES} more" if len(ordered) > SHOWN_NODES else ""
    return ", ".join(ordered[:SHOWN_NODES]) + more


def grouped(said: Mapping[str, str]) -> str:
    """`node1, node2: link is down; …`: what nodes say, the same only once."""
    nodes: dict[str, list[str]] = {}
    for node in sorted(said):
        nodes.setdefault(said[node], []).append(node)
    parts = [f"{names(ones)}: {text}" for text, ones in nodes.items()]
    more = sum(len(ones) for ones in list(nodes.values())[SHOWN_NODES:])
    return "; ".join(parts[:SHOWN_NODES]) + (f"; and {more} more" if more else "")


def few(parts: Sequence[str], what: str) -> str:
    """The first few of these clauses, and how many more `what` there are."""
    more = f"; and {len(parts) - SHOWN_NODES} more {what}" if len(parts) > SHOWN_NODES else ""
    return "; ".join(parts[:SHOWN_NODES]) + more
