"""The speaker DaemonSet: as the chart wants it, as the API has it, and its pods."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from vip_operator.plan.content import integer, mapping, parse_time, string

RELEASE_ANNOTATION = "kube-vrrp.io/release"
TEMPLATE_HASH_ANNOTATION = "kube-vrrp.io/template-hash"
RESTARTED_AT_ANNOTATION = "kubectl.kubernetes.io/restartedAt"
"""Written by `kubectl rollout restart` into the pod template."""
PROGRESS_DEADLINE_ANNOTATION = "kube-vrrp.io/progress-deadline-seconds"

DEFAULT_PROGRESS_DEADLINE = timedelta(seconds=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The DaemonSet that the chart rendered into a ConfigMap, which is to own it. `progress_deadline` is how long a
    renewed node may take to serve its VIPs before the rollout is said to be stalled.
    """

    config_map: str
    config_map_uid: str
    manifest: Mapping[str, Any]
    releasing: bool = False
    progress_deadline: timedelta = DEFAULT_PROGRESS_DEADLINE

    @property
    def hash(self) -> str:
        """Of the whole manifest; short enough to read in an annotation."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def node_selector(self) -> Mapping[str, str]:
        """The nodes that the DaemonSet admits by label."""
        return mapping(self.manifest["spec"]["template"]["spec"].get("nodeSelector"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSet:
    """The speaker DaemonSet as the API has it. `template_hash` is that of the template which it was applied from,
    `pod_template_hash` what its pods get: another one where somebody put back a former revision. `refusal` is why its
    pods are refused (pod security), if they are. `wanted` nodes are to have a pod, `misplaced` have one and are not:
    where Kubernetes says so.
    """

    name: str
    owner_uid: str | None
    template_hash: str | None
    pod_template_hash: str | None = None
    restarted_at: datetime | None = None
    refusal: str | None = None
    wanted: int | None = None
    misplaced: int = 0

    @classmethod
    def from_object(cls, body: Mapping[str, Any], *, refusal: str | None = None) -> DaemonSet:
        """From the API's DaemonSet."""
        metadata, status = body["metadata"], mapping(body.get("status"))
        owners = metadata.get("ownerReferences") or ()
        template = mapping(mapping(body.get("spec")).get("template"))
        annotations = mapping(mapping(template.get("metadata")).get("annotations"))
        return cls(
            name=metadata["name"],
            owner_uid=next((o.get("uid") for o in owners if o.get("kind") == "ConfigMap"), None),
            template_hash=mapping(metadata.get("annotations")).get(TEMPLATE_HASH_ANNOTATION),
            pod_template_hash=string(annotations.get(TEMPLATE_HASH_ANNOTATION)),
            restarted_at=parse_time(annotations.get(RESTARTED_AT_ANNOTATION)),
            refusal=refusal,
            wanted=integer(status.get("desiredNumberScheduled")),
            misplaced=integer(status.get("numberMisscheduled")) or 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerPod:
    """A pod of the speaker DaemonSet, also one that found no room on its node. `trouble` is what keeps it from
    running, or did, where Kubernetes says so. One that is `deleting` is to have ended at `ends_by`.
    """

    name: str
    uid: str
    node: str
    ready: bool = True
    deleting: bool = False
    ends_by: datetime | None = None
    template_hash: str | None = None
    restarted_at: datetime | None = None
    created_at: datetime | None = None
    trouble: str = ""

    @classmethod
    def from_object(cls, body: Mapping[str, Any]) -> SpeakerPod | None:
        """None while the pod is meant for no node."""
        metadata, spec, status = body["metadata"], mapping(body.get("spec")), mapping(body.get("status"))
        annotations = mapping(metadata.get("annotations"))
        node = string(spec.get("nodeName")) or _meant_for(spec)
        if node is None:
            return None
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            node=node,
            ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ()),
            deleting="deletionTimestamp" in metadata,
            ends_by=parse_time(metadata.get("deletionTimestamp")),
            template_hash=annotations.get(TEMPLATE_HASH_ANNOTATION),
            restarted_at=parse_time(annotations.get(RESTARTED_AT_ANNOTATION)),
            created_at=parse_time(metadata.get("creationTimestamp")),
            trouble=_trouble(status),
        )

    def is_current(self, owner: DaemonSet) -> bool:
        """Whether it is what `owner` would make now: of its template, and made since somebody asked for a restart."""
        if self.template_hash != owner.template_hash:
            return False
        if owner.restarted_at is None:
            return True
        return self.restarted_at is not None and self.restarted_at >= owner.restarted_at


def _meant_for(spec: Mapping[str, Any]) -> str | None:
    """The node that the DaemonSet controller made a pod for, before the scheduler has put it there."""
    affinity = mapping(mapping(spec.get("affinity")).get("nodeAffinity"))
    required = mapping(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
    for term in required.get("nodeSelectorTerms") or ():
        for field_ in term.get("matchFields") or ():
            if field_.get("key") == "metadata.name" and len(field_.get("values") or ()) == 1:
                return string(field_["values"][0])
    return None


def _trouble(status: Mapping[str, Any]) -> str:
    """In words that stay the same from one attempt of the kubelet to the next: each change would be written into the
    status of every VirtualIP.
    """
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason')}: {condition.get('message')}"
    containers = status.get("containerStatuses") or ()
    for container in containers:
        state, last = mapping(container.get("state")), mapping(container.get("lastState"))
        if ended := mapping(state.get("terminated") or last.get("terminated")):
            why = f" ({ended['reason']})" if ended.get("reason") not in (None, "Error") else ""
            return f"its container {container.get('name')} ended with status {ended.get('exitCode')}{why}"
    for container in containers:
        if waits := mapping(mapping(container.get("state")).get("waiting")).get("reason"):
            # the kubelet says the one while it tries, the other between
            waits = "ImagePullBackOff" if waits == "ErrImagePull" else waits
            return f"its container {container.get('name')} waits: {waits}, image {container.get('image')}"
    return ""
