"""The speaker DaemonSet and its pods, read from API objects."""

import pytest
from vip_operator.plan.daemonset import DaemonSet, SpeakerPod, Template

from tests.operator_world import START, manifest

METADATA = {"name": "p", "uid": "u"}


def speaker_pod(*, container=None, **parts):
    statuses = [{"name": "agent", "ready": True, "state": {"running": {}}}]
    if container is not None:
        statuses.append({"name": "router", "image": "speaker:2", "ready": False, **container})
    status = {"containerStatuses": statuses, **parts.pop("status", {})}
    pod = SpeakerPod.from_object({"metadata": METADATA, "spec": {"nodeName": "node1"}, "status": status, **parts})
    assert pod is not None
    return pod


PULL = "its container router waits: ImagePullBackOff, image speaker:2"
CRASH = "its container router ended with status 1"
ENDED = {"terminated": {"exitCode": 1, "reason": "Error"}}
KILLED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}


@pytest.mark.parametrize(
    ("container", "trouble"),
    [
        (None, ""),
        ({"ready": True, "state": {"running": {}}, "lastState": ENDED}, CRASH),
        ({"state": {"waiting": {"reason": "ErrImagePull"}}}, PULL),
        ({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}, PULL),
        ({"state": ENDED}, CRASH),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}, "lastState": ENDED}, CRASH),
        ({"state": {"running": {}}, "lastState": ENDED}, CRASH),
        ({"state": {}, "lastState": KILLED}, "its container router ended with status 137 (OOMKilled)"),
        ({"state": {"waiting": {}}}, ""),
    ],
)
def test_what_keeps_a_pod_is_said_in_words_that_do_not_change_with_each_attempt(container, trouble):
    assert speaker_pod(container=container).trouble == trouble


def test_a_pod_that_finds_no_room_is_one_of_the_node_that_it_is_meant_for():
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node2"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    pod = speaker_pod(spec={"affinity": affinity}, status={"containerStatuses": None, "conditions": [scheduled]})
    assert (pod.node, pod.ready, pod.trouble) == ("node2", False, "Unschedulable: 0/3 nodes")


def test_a_pod_that_is_meant_for_no_node_yet_is_none():
    assert SpeakerPod.from_object({"metadata": METADATA, "spec": {}}) is None


def test_a_pod_says_its_template_its_age_and_whether_it_serves():
    annotations = {"kube-vrrp.io/template-hash": "abc"}
    metadata = {**METADATA, "annotations": annotations, "creationTimestamp": "2026-01-01T00:00:00Z"}
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    pod = speaker_pod(metadata=metadata, status=ready)
    assert (pod.template_hash, pod.created_at, pod.ready, pod.deleting) == ("abc", START, True, False)
    ending = speaker_pod(metadata={**metadata, "deletionTimestamp": "2026-01-01T00:00:01Z"}, status=ready)
    assert (ending.ready, ending.deleting) == (True, True)


def test_a_daemon_set_says_what_its_pods_get_and_when_somebody_asked_for_a_restart():
    hashes = [{"kube-vrrp.io/template-hash": text} for text in ("new", "old")]
    pod = {"metadata": {"annotations": {**hashes[1], "kubectl.kubernetes.io/restartedAt": "2026-01-01T01:00:00+01:00"}}}
    found = DaemonSet.from_object({"metadata": {**METADATA, "annotations": hashes[0]}, "spec": {"template": pod}})
    assert (found.template_hash, found.pod_template_hash, found.restarted_at) == ("new", "old", START)


def test_a_daemon_set_names_the_config_map_that_owns_it():
    owners = [{"kind": "Deployment", "uid": "other"}, {"kind": "ConfigMap", "uid": "cm"}]
    owned = {"metadata": {**METADATA, "ownerReferences": owners}}
    assert DaemonSet.from_object(owned, refusal="no") == DaemonSet(
        name="p", owner_uid="cm", template_hash=None, refusal="no"
    )
    assert DaemonSet.from_object({"metadata": METADATA}).owner_uid is None


def test_the_hash_is_of_everything_in_the_manifest_in_any_order():
    def hash_of(written):
        return Template(config_map="cm", config_map_uid="u", manifest=written).hash

    assert hash_of(manifest()) == hash_of(dict(reversed(manifest().items())))
    assert hash_of(manifest()) != hash_of(manifest("speaker:2"))
