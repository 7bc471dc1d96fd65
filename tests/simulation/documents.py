"""VirtualIP documents at random: few names, addresses and VRIDs, so that documents meet each other often."""

from __future__ import annotations

from random import Random
from typing import Any

from vip_api.model import VirtualIP
from vip_api.parse import parse_document

Document = dict[str, Any]

LONE, ASSIGNED = ("amber", "birch"), ("cedar", "dogwood")
NAMES = (*LONE, *ASSIGNED)
LINKS = {
    "eth0": ("10.0.0.1/24", "2001:db8:0::1/64", "fe80::1/64"),
    "eth1": ("10.1.0.1/24", "2001:db8:1::1/64", "fe80::2/64"),
}
TRACKED = "up0"


def meaning(document: Document) -> VirtualIP | None:
    """What a router that read it has in force; None where it refuses it."""
    parsed = parse_document(document, lone=True)
    return None if isinstance(parsed, list) else parsed


def draw(random: Random, name: str) -> Document:
    """A good document for `name`."""
    while True:
        document: Document = {
            "apiVersion": "kube-vrrp.io/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": name, "generation": 1},
            "spec": {},
        }
        for change in (_addresses, _vrid, _pace, _priority, _interfaces):
            change(random, document)
        if random.random() < 0.5:
            document = changed(random, document)
        if meaning(document) is not None:
            return document


def changed(random: Random, document: Document) -> Document:
    """Another good one: a few things are different."""
    while True:
        new = {**document, "metadata": {**document["metadata"]}, "spec": {**document["spec"]}}
        new["metadata"]["generation"] += 1
        if "assignment" in new:
            new["assignment"] = {**new["assignment"]}
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            random.choice(_CHANGES)(random, new)
        if meaning(new) is not None:
            return new


def _number(document: Document) -> int:
    """Of the link whose subnets its addresses are from."""
    named = document["spec"].get("interfaces", ["eth0"])[0]
    return int(named[-1]) if named in LINKS else 0


def _addresses(random: Random, document: Document) -> None:
    number = _number(document) if random.random() < 0.9 else random.choice((0, 1))
    four = [f"10.{number}.0.{100 + index}" for index in range(4)]
    six = [f"2001:db8:{number}::10{index}" for index in range(3)] + ["fe80::100", "fe80::101"]
    kind = random.choice(("four", "four", "six", "both", "both", "both"))
    pool = {"four": four, "six": six, "both": four + six}[kind]
    chosen = random.sample(pool, random.randint(1, min(4, len(pool))))
    if random.random() < 0.15:
        chosen = [f"{one}/24" if "." in one else one for one in chosen]
    if random.random() < 0.1:
        chosen.append(f"10.{8 + number}.0.100/24")
    document["spec"]["addresses"] = chosen


def _one_address(random: Random, document: Document) -> None:
    """One more or one less, as people do it."""
    addresses = list(document["spec"]["addresses"])
    if len(addresses) > 1 and random.random() < 0.5:
        addresses.pop(random.randrange(len(addresses)))
    else:
        more: Document = {"spec": {**document["spec"]}}
        _addresses(random, more)
        addresses += [one for one in more["spec"]["addresses"] if one not in addresses][:1]
    random.shuffle(addresses)
    document["spec"]["addresses"] = addresses


def _vrid(random: Random, document: Document) -> None:
    vrid = random.randint(1, 4)
    if document["metadata"]["name"] in ASSIGNED:
        document.setdefault("assignment", {"priority": 252})["virtualRouterID"] = vrid
    else:
        document["spec"]["virtualRouterID"] = vrid


def _pace(random: Random, document: Document) -> None:
    spec = document["spec"]
    spec["version"] = random.choice((2, 3, 3))
    spec["advertisementInterval"] = random.choice(("1s", "2s") if spec["version"] == 2 else ("100ms", "300ms", "1s"))
    if spec["version"] == 3:
        spec.pop("authentication", None)


def _priority(random: Random, document: Document) -> None:
    priority = random.choice((1, 50, 100, 150, 200, 254))
    if "assignment" in document:
        document["assignment"]["priority"] = priority
    else:
        document["spec"]["priority"] = priority if random.random() < 0.95 else 255


def _interfaces(random: Random, document: Document) -> None:
    if random.random() < 0.25:
        document["spec"].pop("interfaces", None)
    else:
        document["spec"]["interfaces"] = [random.choice(("eth0", "eth0", "eth1", "eth1", "eth*"))]


def _password(random: Random, document: Document) -> None:
    spec = document["spec"]
    if "authentication" in spec and random.random() < 0.4:
        del spec["authentication"]
    else:
        spec |= {"version": 2, "advertisementInterval": "1s"}
        spec["authentication"] = {"type": "PASS", "password": random.choice(("one", "two"))}


def _transport(random: Random, document: Document) -> None:
    spec = document["spec"]
    if spec.get("transport") == "Unicast":
        del spec["transport"]
        spec.pop("unicastPeers", None)
        return
    spec["transport"] = "Unicast"
    if "assignment" not in document:
        number = _number(document)
        six = ":" in spec["addresses"][0]
        peers = [f"fe80::1{last}" if six else f"10.{number}.0.{last}" for last in (11, 12)]
        spec["unicastPeers"] = random.sample(peers, random.randint(1, 2))


def _peers(random: Random, document: Document) -> None:
    if "assignment" not in document:
        return
    number, six = _number(document), ":" in document["spec"]["addresses"][0]
    peers = []
    for last in random.sample((11, 12, 13), random.randint(0, 3)):
        peer = {"node": f"node-{last}", "priority": random.choice((250, 248, 150, 90))}
        if random.random() < 0.8:
            peer["address"] = f"fe80::1{last}" if six else f"10.{number}.0.{last}"
        if random.random() < 0.5:
            peer["effectivePriority"] = random.choice((254, 200, 90, 1))
        peers.append(peer)
    document["assignment"]["peers"] = peers


def _unassigned(random: Random, document: Document) -> None:
    if "assignment" in document:
        document["assignment"].pop(random.choice(("priority", "virtualRouterID")), None)


def _virtual_mac(random: Random, document: Document) -> None:
    document["spec"]["virtualMAC"] = not document["spec"].get("virtualMAC", False)


def _preempt(random: Random, document: Document) -> None:
    document["spec"]["preempt"] = random.random() < 0.5
    if document["spec"]["preempt"] and random.random() < 0.5:
        document["spec"]["preemptDelay"] = random.choice(("0s", "2s"))
    else:
        document["spec"].pop("preemptDelay", None)


def _track(random: Random, document: Document) -> None:
    if "track" in document["spec"] and random.random() < 0.5:
        del document["spec"]["track"]
    else:
        weight = random.choice((0, -50, -200, 20))
        document["spec"]["track"] = [{"name": "uplink", "interface": {"name": TRACKED}, "weight": weight}]


def _announcements(random: Random, document: Document) -> None:
    document["spec"]["announcements"] = {"repeat": random.randint(1, 3), "delay": "1s", "refresh": "10s"}


_CHANGES = (
    *(_addresses, _one_address, _one_address, _one_address, _vrid, _pace, _priority, _priority, _interfaces),
    *(_password, _transport, _peers, _peers, _unassigned, _virtual_mac, _virtual_mac, _preempt, _track),
    _announcements,
)
