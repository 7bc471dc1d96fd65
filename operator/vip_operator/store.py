"""What the operator has seen: API objects as they came, newest version of each, and the world made from them.

Filled by the watch (kopf) and by full lists. kopf loses deletions across a 410, so a list is compared with
the whole store; and a plan is only made after the first lists, because a world with half its nodes is a
different world.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from vip_api.model import IPAddress

from vip_operator.plan.content import parse_time
from vip_operator.plan.daemonset import (
    DEFAULT_PROGRESS_DEADLINE,
    PROGRESS_DEADLINE_ANNOTATION,
    RELEASE_ANNOTATION,
    DaemonSet,
    SpeakerPod,
    Template,
)
from vip_operator.plan.node import Node
from vip_operator.plan.virtualip import Vip
from vip_operator.plan.world import World

logger = logging.getLogger(__name__)

VIPS = "virtualips"
NODES = "nodes"
PODS = "pods"
DAEMON_SETS = "daemonsets"
CONFIG_MAPS = "configmaps"
KINDS = (VIPS, NODES, PODS, DAEMON_SETS, CONFIG_MAPS)

TEMPLATE_KEY = "daemonset.yaml"

KEPT_REMOVALS = 1000
"""More than go while one list is on its way."""

Object = Mapping[str, Any]


class SetBackError(Exception):
    """The API server's store was set back to an earlier state (a backup was restored): what was seen since is of
    another history, and a watch that goes on from there stays silent.
    """


@dataclass(slots=True)
class Extra:
    """What is not watched: node leases and why pods are refused, looked up only when a plan needs it, and the addresses
    of the API server.
    """

    renewed_at: dict[str, datetime] = field(default_factory=dict)
    refusal: str | None = None
    api_server: frozenset[IPAddress] = frozenset()


class Store:
    """All methods may be called from any thread."""

    def __init__(self, *, config_map: str) -> None:
        self._config_map = config_map
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in KINDS}
        self._newest = dict.fromkeys(KINDS, 0)
        self._removed: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}  # by uid: the version of the deletion
        self._vips: dict[str, tuple[str, Vip]] = {}
        self._templates: dict[str, Template] = {}
        self._no_template = ""

    def newest(self, kind: str) -> int:
        """The highest resource version seen: no later list of this kind is of an earlier one."""
        with self._lock:
            return self._newest[kind]

    def forget(self) -> None:
        """Know nothing, as at the start: in another history a version that is lower may be the later one, and the same
        one another object.
        """
        with self._lock:
            self._objects = {kind: {} for kind in KINDS}
            self._newest = dict.fromkeys(KINDS, 0)
            self._removed = {kind: {} for kind in KINDS}
            self._vips = {}

    def put(self, kind: str, body: Object) -> bool:
        """Take in an object unless a newer version of it is here. True if it changed anything."""
        name = body["metadata"]["name"]
        with self._lock:
            known = self._objects[kind].get(name)
            if known is not None and _same_object(known, body) and _version(body) <= _version(known):
                return False
            if self._is_removed(kind, body, _version(body)):
                return False
            self._objects[kind][name] = body
            self._newest[kind] = max(self._newest[kind], _version(body))
            return True

    def put_answer(self, kind: str, body: Object, *, before: Object | None) -> None:
        """Take in what a write gave; `before` is the object as it was known when that was sent. SetBackError."""
        if before is not None and _same_object(before, body) and _version(body) < _version(before):
            name, versions = body["metadata"]["name"], (_version(body), _version(before))
            raise SetBackError(f"{kind} {name} has version {versions[0]}, {versions[1]} was there before")
        self.put(kind, body)

    def remove(self, kind: str, body: Object) -> bool:
        """Forget an object, unless the one of that name is another by now."""
        name = body["metadata"]["name"]
        with self._lock:
            removed = self._removed[kind]
            removed[body["metadata"]["uid"]] = _version(body)
            if len(removed) > KEPT_REMOVALS:
                del removed[next(iter(removed))]
            known = self._objects[kind].get(name)
            if known is None or not _same_object(known, body):
                return False
            del self._objects[kind][name]
            return True

    def _is_removed(self, kind: str, body: Object, version: int) -> bool:
        """Whether what was true at `version`, a list or the answer to a write, was overtaken by a deletion."""
        return version <= self._removed[kind].get(body["metadata"]["uid"], -1)

    def replace(self, kind: str, bodies: Iterable[Object], *, version: int) -> bool:
        """Take in a full list made at resource `version`: what is not in it and not newer is gone."""
        listed = list(bodies)
        with self._lock:
            changed = [self._take(kind, body, version) for body in listed]
            self._newest[kind] = max(self._newest[kind], version)
        names = {body["metadata"]["name"] for body in listed}
        with self._lock:
            gone = [n for n, b in self._objects[kind].items() if n not in names and _version(b) <= version]
            for name in gone:
                del self._objects[kind][name]
        return any(changed) or bool(gone)

    def _take(self, kind: str, body: Object, version: int) -> bool:
        """One object of a list: it is right unless something newer than the list is here, also where its own version is
        lower than what was known (a backup was restored).
        """
        if self._is_removed(kind, body, version):
            return False
        known = self._objects[kind].get(body["metadata"]["name"])
        if known is not None and _same_object(known, body):
            newer_here = _version(known) > max(_version(body), version)
            if newer_here or _version(known) == _version(body):
                return False
        self._objects[kind][body["metadata"]["name"]] = body
        return True

    def get(self, kind: str, name: str) -> Object | None:
        """The object as last seen."""
        with self._lock:
            return self._objects[kind].get(name)

    def world(self, *, cluster_uid: str, extra: Extra) -> World:
        """The world now."""
        with self._lock:
            objects = {kind: list(bodies.values()) for kind, bodies in self._objects.items()}
        template = self._speaker_template(objects[CONFIG_MAPS])
        name = template.manifest["metadata"]["name"] if template else None
        daemon_sets = [
            DaemonSet.from_object(b, refusal=extra.refusal)
            for b in objects[DAEMON_SETS]
            if b["metadata"]["name"] == name
        ]
        owned = {b["metadata"]["uid"] for b in objects[DAEMON_SETS] if b["metadata"]["name"] == name}
        pods = [SpeakerPod.from_object(b) for b in objects[PODS] if _owners(b) & owned]
        return World(
            now=datetime.now(UTC),
            cluster_uid=cluster_uid,
            vips=tuple(sorted(self._parsed(objects[VIPS]), key=lambda v: v.name)),
            nodes={
                b["metadata"]["name"]: Node.from_object(b, renewed_at=extra.renewed_at.get(b["metadata"]["name"]))
                for b in objects[NODES]
            },
            pods=tuple(p for p in pods if p is not None),
            template=template,
            daemon_set=daemon_sets[0] if daemon_sets else None,
            api_server=extra.api_server,
        )

    def short_of_pods(self) -> str | None:
        """The name of the speakers' DaemonSet, if it has fewer pods than nodes to run them on."""
        with self._lock:
            template = self._speaker_template(self._objects[CONFIG_MAPS].values())
            found = self._objects[DAEMON_SETS].get(template.manifest["metadata"]["name"]) if template else None
        status = (found or {}).get("status") or {}
        short = status.get("desiredNumberScheduled", 0) > status.get("currentNumberScheduled", 0)
        return found["metadata"]["name"] if found is not None and short else None

    def _speaker_template(self, config_maps: Iterable[Object]) -> Template | None:
        return next((t for b in config_maps if (t := self._template(b))), None)

    def _parsed(self, bodies: Iterable[Object]) -> list[Vip]:
        """Parsing is the costly part of a plan and most VirtualIPs did not change: kept by resource
        version.
        """
        result = {}
        for body in bodies:
            key = f"{body['metadata']['uid']}/{body['metadata'].get('resourceVersion')}"
            cached = self._vips.get(body["metadata"]["name"])
            vip = cached[1] if cached and cached[0] == key else Vip.from_object(body)
            result[vip.name] = (key, vip)
        self._vips = result
        return [vip for _, vip in result.values() if not vip.deleting]

    def _template(self, body: Object) -> Template | None:
        text = (body.get("data") or {}).get(TEMPLATE_KEY)
        if body["metadata"]["name"] != self._config_map or text is None:
            return None
        annotations = body["metadata"].get("annotations") or {}
        releasing = annotations.get(RELEASE_ANNOTATION) == "true"
        deadline = str(annotations.get(PROGRESS_DEADLINE_ANNOTATION, ""))
        key = f"{body['metadata']['uid']}/{releasing}/{deadline}/{text}"
        if key not in self._templates:  # reading YAML takes longer than a plan for hundreds of VirtualIPs
            manifest = _daemon_set(text)
            if manifest is None:
                if text != self._no_template:
                    logger.error(
                        "%s in ConfigMap %s is no DaemonSet; the last good one stays",
                        TEMPLATE_KEY,
                        body["metadata"]["name"],
                    )
                self._no_template = text
                return next(iter(self._templates.values()), None)
            self._templates = {
                key: Template(
                    config_map=body["metadata"]["name"],
                    config_map_uid=body["metadata"]["uid"],
                    manifest=manifest,
                    releasing=releasing,
                    progress_deadline=timedelta(seconds=int(deadline))
                    if re.fullmatch("[0-9]{1,6}", deadline)
                    else DEFAULT_PROGRESS_DEADLINE,
                )
            }
        return self._templates[key]


def _daemon_set(text: str) -> dict[str, Any] | None:
    """The manifest, as far as a plan looks into it; None where somebody has spoilt it."""
    try:
        manifest = yaml.safe_load(text)
        return manifest if manifest["metadata"]["name"] and manifest["spec"]["template"]["spec"]["containers"] else None
    except (yaml.YAMLError, TypeError, KeyError, ValueError):
        return None


def renewal(lease: Object) -> datetime | None:
    """When a node's lease was renewed."""
    return parse_time((lease.get("spec") or {}).get("renewTime"))


def _version(body: Object) -> int:
    """Resource versions are ordered numbers (Kubernetes 1.35 says so, every version before did it)."""
    version = body["metadata"].get("resourceVersion", "0")
    return int(version) if str(version).isdigit() else 0


def _same_object(one: Object, two: Object) -> bool:
    return bool(one["metadata"].get("uid") == two["metadata"].get("uid"))


def _owners(body: Object) -> set[str]:
    return {o.get("uid", "") for o in body["metadata"].get("ownerReferences") or ()}
