"""`status` of a VirtualIP: the operator's and each node's part. Nothing reads it with these; they make its schema."""

from __future__ import annotations

from .fields import Field, Flag, Integer, Record, Sequence, Text

# The API server compares bounds as floating-point numbers: the largest int64 would turn negative.
MAX_GENERATION = 2**53
_VRID = Integer(description="The VRID in use.", minimum=1, maximum=255)
_GENERATION = Integer(
    description="The generation of the resource that this is about.",
    minimum=0,
    maximum=MAX_GENERATION,
    format="int64",
)

CONDITIONS = Sequence(
    description="Accepted, Ready, Degraded and SplitBrain, each with the reason.",
    max_items=16,
    key="type",
    items=Record(
        description="One statement about the VIP.",
        required=("type", "status", "lastTransitionTime", "reason", "message"),
        fields={
            "type": Text(description="What it is about.", max_length=316),
            "status": Text(description="Whether it holds.", max_length=8, choices=("True", "False", "Unknown")),
            "observedGeneration": _GENERATION,
            "lastTransitionTime": Text(description="When it last changed.", max_length=64, format="date-time"),
            "reason": Text(description="Why, in one word.", max_length=1024),
            "message": Text(description="Why, in a sentence.", max_length=32768),
        },
    ),
)

_FACTS = Sequence(
    description="What the operator sees for this node's checks of the kinds node and pods, and of cordoning.",
    max_items=66,
    key="name",
    items=Record(
        description="One fact.",
        required=("name", "value"),
        fields={
            "name": Text(description="The check's name, or onCordon for whether the node is cordoned.", max_length=63),
            "value": Flag(description="Whether it is good."),
            "reason": Text(description="Why.", max_length=256),
            "stale": Flag(description="Whether the API server could not confirm it lately."),
        },
    ),
)

_LINK = Record(
    description="What a node in INIT knows of its link, for the operator's choice of a VRID.",
    fields={
        "subnets": Sequence(
            description="The link's subnets.",
            max_items=32,
            unique=True,
            items=Text(description="", max_length=64),
        ),
        "heard": Sequence(
            description="The VRIDs that others use on it.",
            max_items=255,
            unique=True,
            items=Integer(description="", minimum=1, maximum=255),
        ),
        "alsoFor": Sequence(
            description="The uids of other VirtualIPs that this node has on the same link in INIT: so it says it once.",
            max_items=512,
            items=Text(description="", max_length=64),
        ),
    },
)

# `priority`, `facts` and `reporting` are the operator's, the rest is the node's own.
_NODE_FIELDS: dict[str, Field] = {
    "node": Text(description="The node's name.", max_length=253),
    "priority": Integer(description="The priority that the operator assigned to the node.", minimum=1, maximum=255),
    "facts": _FACTS,
    "reporting": Text(
        description="Whether the node can report: True, or Unknown while node or pod are not ready.",
        max_length=8,
        choices=("True", "Unknown"),
    ),
    "state": Text(
        description="MASTER, BACKUP, INIT or FAULT.",
        max_length=8,
        choices=("INIT", "BACKUP", "MASTER", "FAULT"),
    ),
    "effectivePriority": Integer(description="The priority with what checks add or take away.", minimum=0, maximum=255),
    "interface": Text(description="The interface that the addresses are on.", max_length=15),
    "primaryAddress": Text(description="The node's own address that advertisements are sent from.", max_length=64),
    "virtualRouterID": _VRID,
    "observedGeneration": _GENERATION,
    "since": Text(description="When the state last changed.", max_length=64, format="date-time"),
    "reason": Text(description="Why the node is in this state.", max_length=1024),
    "link": _LINK,
}

STATUS = Record(
    description="What has become of it.",
    fields={
        "observedGeneration": _GENERATION,
        "virtualRouterID": _VRID,
        "version": Integer(description="The VRRP version in use.", minimum=2, maximum=3),
        "acceptedAddresses": Sequence(
            description="The addresses of the document that was accepted last, which is the one that is carried out.",
            max_items=64,
            items=Text(description="", max_length=64),
        ),
        "addresses": Text(description="The first of them, and how many more, in a line.", max_length=1024),
        "master": Text(description="The node that is MASTER.", max_length=253),
        "masterPriority": Integer(description="That node's effective priority.", minimum=0, maximum=255),
        "backups": Text(description="The nodes that stand by, in a line.", max_length=65536),
        "conditions": CONDITIONS,
        "nodes": Sequence(
            description="Every node that takes part.",
            max_items=254,
            key="node",
            items=Record(description="One node's part.", required=("node",), fields=_NODE_FIELDS),
        ),
    },
)
