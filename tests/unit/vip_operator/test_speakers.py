"""The DaemonSet and the rollout of a new template."""

from dataclasses import replace
from datetime import timedelta

import pytest
from vip_operator.plan.changes import ApplyDaemonSet, DeletePod

from tests.operator_world import FakeCluster, manifest


def served(*vips: str) -> FakeCluster:
    cluster = FakeCluster("node1", "node2", "node3")
    for i, name in enumerate(vips or ("web",)):
        cluster.add_vip(name, virtualRouterID=51 + i)
    cluster.settle()
    for name in cluster.vips:
        cluster.elect(name)
    cluster.settle()
    return cluster


def new_template(cluster: FakeCluster) -> None:
    assert cluster.template is not None
    cluster.template = replace(cluster.template, manifest=manifest("speaker:2"))


def renew(cluster: FakeCluster, node: str) -> None:
    """The DaemonSet controller makes a new pod and its router starts."""
    cluster.add_pod(node)
    for vip in cluster.vips:
        cluster.report(vip, node, "INIT")


def test_it_is_applied_before_the_first_vip_and_owned_by_the_config_map():
    cluster = FakeCluster("node1")
    (change,) = cluster.step().changes
    assert isinstance(change, ApplyDaemonSet)
    assert change.manifest["metadata"]["ownerReferences"][0]["kind"] == "ConfigMap"
    assert change.manifest["spec"]["updateStrategy"] == {"type": "OnDelete"}
    annotation = "kube-vrrp.io/template-hash"
    pod = change.manifest["spec"]["template"]["metadata"]["annotations"]
    assert pod[annotation] == change.manifest["metadata"]["annotations"][annotation]
    assert cluster.plan().changes == ()


def test_a_config_map_that_was_made_anew_becomes_the_owner():
    cluster = served()
    assert cluster.template is not None
    cluster.template = replace(cluster.template, config_map_uid="another")
    assert [type(c) for c in cluster.step().changes] == [ApplyDaemonSet]
    assert cluster.plan().changes == ()


def test_without_a_template_nothing_is_done_to_the_speakers():
    cluster = served()
    cluster.template = None
    assert cluster.plan().changes == ()


def ask_for_a_restart(cluster: FakeCluster) -> None:
    """As `kubectl rollout restart` does."""
    assert cluster.daemon_set is not None
    cluster.daemon_set = replace(cluster.daemon_set, restarted_at=cluster.now)


@pytest.mark.parametrize(("ask", "applies"), [(new_template, True), (ask_for_a_restart, False)])
def test_a_rollout_takes_one_node_at_a_time_and_the_master_last(ask, applies):
    cluster = served()
    master = cluster.status()["master"]
    ask(cluster)
    if applies:
        assert [type(c) for c in cluster.step().changes] == [ApplyDaemonSet]
    for _ in range(3):
        cluster.step()
        node = cluster.deleted_pods[-1]
        assert not [c for c in cluster.step().changes if isinstance(c, DeletePod)]
        renew(cluster, node)
        assert not [c for c in cluster.step().changes if isinstance(c, DeletePod)]
        cluster.report("web", node, "MASTER" if node == master else "BACKUP")
    cluster.settle()
    assert len(set(cluster.deleted_pods)) == len(cluster.deleted_pods) == 3
    assert cluster.deleted_pods[-1] == master


def test_a_new_pod_is_not_taken_for_an_old_one_by_what_was_asked_for_before():
    """The watch of pods may be ahead of that of the DaemonSet."""
    cluster = served()
    assert cluster.daemon_set is not None
    cluster.pods = {n: replace(p, restarted_at=cluster.now) for n, p in cluster.pods.items()}
    assert cluster.plan().changes == ()
    cluster.daemon_set = replace(cluster.daemon_set, restarted_at=cluster.now - timedelta(hours=1))
    assert cluster.plan().changes == ()


def test_a_former_revision_that_somebody_puts_back_is_undone_not_rolled_out_for_ever():
    cluster = served()
    assert cluster.daemon_set is not None
    cluster.daemon_set = replace(cluster.daemon_set, pod_template_hash="former")
    assert [type(c) for c in cluster.step().changes] == [ApplyDaemonSet]
    assert cluster.plan().changes == ()
    assert cluster.deleted_pods == []


def test_masterships_order_the_nodes():
    cluster = served("a", "b", "c")
    cluster.report("a", "node1", "MASTER")
    cluster.report("b", "node1", "MASTER")
    cluster.report("c", "node2", "MASTER")
    for vip, node in (("a", "node2"), ("a", "node3"), ("b", "node2"), ("b", "node3"), ("c", "node1"), ("c", "node3")):
        cluster.report(vip, node, "BACKUP")
    cluster.settle()
    new_template(cluster)
    cluster.step()
    for _ in range(3):
        cluster.step()
        node = cluster.deleted_pods[-1]
        cluster.add_pod(node)
    assert cluster.deleted_pods == ["node3", "node2", "node1"]


def test_a_rollout_stops_before_the_last_node_that_serves():
    """A check of weight 0 fails on each new speaker, such as a script that the new values do not allow."""
    cluster = served()
    master = cluster.status()["master"]
    new_template(cluster)
    for _ in range(12):
        replaced = len(cluster.deleted_pods)
        cluster.step()
        for node in cluster.deleted_pods[replaced:]:
            cluster.add_pod(node)
            cluster.report("web", node, "FAULT", reason="web: script cannot be run")
        cluster.advance(5)
    assert len(cluster.deleted_pods) == 2
    assert master not in cluster.deleted_pods
    cluster.advance(120)
    cluster.settle()
    assert cluster.condition("Degraded") == ("True", "RolloutStalled")
    assert f"stops before {master}: it alone serves VirtualIP web" in cluster.message("Degraded")
    for node in cluster.deleted_pods:
        cluster.report("web", node, "BACKUP")
    cluster.step()
    assert cluster.deleted_pods[-1] == master


def test_a_rollout_goes_on_where_the_others_have_no_link_for_the_vip():
    cluster = served()
    master = cluster.status()["master"]
    missing = {"state": "FAULT", "reason": "InterfaceMissing: spec.interfaces: no link of this host matches"}
    others = [n for n in cluster.nodes if n != master]
    for node in others:
        cluster.report("web", node, **missing)
    cluster.settle()
    new_template(cluster)
    for _ in range(20):
        replaced = len(cluster.deleted_pods)
        cluster.step()
        for node in cluster.deleted_pods[replaced:]:
            cluster.add_pod(node)
            cluster.report("web", node, **(missing if node in others else {"state": "MASTER"}))
        cluster.advance(10)
    assert cluster.deleted_pods == [*sorted(others), master]


def test_the_last_word_of_the_old_pod_is_not_the_new_ones():
    """It was killed before it could say that it ends."""
    cluster = served()
    new_template(cluster)
    cluster.step()
    cluster.step()
    (node,) = cluster.deleted_pods
    cluster.advance(3)
    cluster.add_pod(node)
    cluster.step()
    assert cluster.deleted_pods == [node]
    cluster.report("web", node, "BACKUP")
    cluster.step()
    assert len(cluster.deleted_pods) == 2


def without_replacing(cluster: FakeCluster) -> None:
    for change in cluster.plan().changes:
        if not isinstance(change, DeletePod):
            cluster.carry_out(change)


def test_a_rollout_that_goes_well_warns_of_nothing():
    cluster = served()
    master = cluster.status()["master"]
    other = next(n for n in cluster.nodes if n != master)
    cluster.events.clear()
    new_template(cluster)
    without_replacing(cluster)
    for _ in range(3):
        (node,) = [c.node for c in cluster.plan().changes if isinstance(c, DeletePod)]
        cluster.pods[node] = replace(cluster.pods[node], deleting=True)
        without_replacing(cluster)
        assert cluster.condition("Ready")[0] == "True"
        cluster.report("web", node, "INIT", reason="Stopped: the speaker is ending")
        if node == master:
            cluster.report("web", other, "MASTER")
        cluster.advance(2)
        without_replacing(cluster)
        del cluster.pods[node]
        without_replacing(cluster)
        cluster.add_pod(node, ready=False)
        without_replacing(cluster)
        cluster.add_pod(node)
        cluster.report("web", node, "BACKUP")
        cluster.advance(10)
        without_replacing(cluster)
    assert not [event for _, event in cluster.events if event.type == "Warning"]


def test_a_speaker_that_does_not_come_back_is_missed():
    cluster = served()
    node = next(n for n in cluster.nodes if n != cluster.status()["master"])
    cluster.report("web", node, "INIT", reason="Stopped: the speaker is ending")
    del cluster.pods[node]
    cluster.settle()
    assert cluster.condition("Degraded")[1] != "Unreported"
    assert cluster.plan().recheck_after_s == 60
    cluster.advance(60)
    cluster.settle()
    assert cluster.condition("Degraded")[1] == "Unreported"


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_pod_that_does_not_end_or_come_stalls_the_rollout_visibly(is_gone):
    cluster = served()
    new_template(cluster)
    cluster.step()
    old = dict(cluster.pods)
    cluster.step()
    (node,) = cluster.deleted_pods
    cluster.report("web", node, "INIT", reason="Stopped: the speaker is ending")
    if not is_gone:
        cluster.pods[node] = replace(old[node], deleting=True, ends_by=cluster.now + timedelta(seconds=30))
    cluster.advance(200)
    cluster.settle()
    assert cluster.condition("Degraded") == ("True", "RolloutStalled")
    assert len(cluster.deleted_pods) == 1


def test_it_waits_for_a_vip_without_master():
    cluster = served()
    new_template(cluster)
    cluster.step()
    cluster.step()
    node = cluster.deleted_pods[-1]
    cluster.add_pod(node)
    master = cluster.status()["master"]
    cluster.report("web", master, "BACKUP")
    cluster.step()
    assert cluster.deleted_pods == [node]


def test_it_stalls_visibly_and_goes_on_when_the_node_is_back():
    cluster = served()
    new_template(cluster)
    cluster.step()
    cluster.step()
    node = cluster.deleted_pods[-1]
    cluster.add_pod(node, ready=False)
    cluster.advance(119)
    cluster.step()
    assert cluster.condition("Degraded")[1] != "RolloutStalled"
    assert cluster.plan().recheck_after_s is not None
    cluster.advance(1)
    cluster.settle()
    assert cluster.condition("Degraded") == ("True", "RolloutStalled")
    assert node in cluster.message("Degraded")
    assert len(cluster.deleted_pods) == 1
    cluster.pods[node] = replace(cluster.pods[node], ready=True)
    cluster.report("web", node, "BACKUP")
    cluster.step()
    assert len(cluster.deleted_pods) == 2
    assert cluster.condition("Degraded")[1] != "RolloutStalled"


def test_how_long_a_node_may_take_is_the_charts_word_and_the_next_look_is_no_later():
    cluster = served()
    new_template(cluster)
    assert cluster.template is not None
    cluster.template = replace(cluster.template, progress_deadline=timedelta(seconds=15))
    cluster.step()
    cluster.step()
    cluster.add_pod(cluster.deleted_pods[-1], ready=False)
    cluster.advance(9)
    assert cluster.plan().recheck_after_s == 6
    cluster.advance(6)
    cluster.step()
    assert cluster.condition("Degraded") == ("True", "RolloutStalled")


def test_a_stalled_rollout_says_which_pod_and_what_keeps_it():
    cluster = served()
    new_template(cluster)
    cluster.step()
    cluster.step()
    node = cluster.deleted_pods[-1]
    cluster.add_pod(node, ready=False)
    trouble = "its container router waits: ImagePullBackOff, image speaker:2"
    cluster.pods[node] = replace(cluster.pods[node], trouble=trouble)
    cluster.advance(120)
    cluster.settle()
    said = f"the rollout of the speakers waits for {node}: its new pod {cluster.pods[node].name} is not well: {trouble}"
    assert cluster.message("Degraded").startswith(said)
    cluster.report("web", node, "INIT")
    cluster.pods[node] = replace(cluster.pods[node], ready=True)  # for a moment, as ever again
    cluster.settle()
    assert cluster.message("Degraded") == said


def test_a_stalled_rollout_says_what_the_new_speaker_says():
    cluster = served()
    new_template(cluster)
    cluster.step()
    cluster.step()
    node = cluster.deleted_pods[-1]
    cluster.add_pod(node)
    cluster.report("web", node, "INIT", reason="NoRouter: the router says nothing about it")
    cluster.advance(120)
    cluster.settle()
    told = f"is not served by its new pod {cluster.pods[node].name}: INIT, NoRouter: the router says nothing about it"
    assert told in cluster.message("Degraded")


@pytest.mark.parametrize("to", ["the one before", "another"])
def test_after_a_stall_the_next_template_begins_with_the_broken_pod(to):
    cluster = served()
    former = cluster.template
    new_template(cluster)
    cluster.step()
    cluster.step()
    node = cluster.deleted_pods[-1]
    cluster.add_pod(node, ready=False)
    cluster.advance(120)
    cluster.settle()
    assert former is not None
    cluster.template = former if to == "the one before" else replace(former, manifest=manifest("speaker:3"))
    cluster.step()
    cluster.step()
    assert cluster.deleted_pods == [node, node]
    renew(cluster, node)
    cluster.report("web", node, "BACKUP")
    cluster.step()
    assert cluster.condition("Degraded")[1] != "RolloutStalled"
    assert len(cluster.deleted_pods) == (2 if to == "the one before" else 3)


def test_a_node_that_dies_while_its_old_pod_ends_does_not_hold_up_the_rollout():
    cluster = served()
    new_template(cluster)
    cluster.step()
    pods = dict(cluster.pods)
    cluster.step()
    (first,) = cluster.deleted_pods
    cluster.pods[first] = replace(pods[first], deleting=True)
    cluster.step()
    assert len(cluster.deleted_pods) == 1
    cluster.set_ready(first, False)
    cluster.step()
    assert len(cluster.deleted_pods) == 2


def test_a_pod_that_does_not_work_goes_first():
    cluster = served()
    master = cluster.status()["master"]
    cluster.pods[master] = replace(cluster.pods[master], ready=False)
    new_template(cluster)
    cluster.step()
    cluster.step()
    assert cluster.deleted_pods == [master]


def test_a_dead_node_does_not_hold_up_the_rollout():
    cluster = served()
    new_template(cluster)
    cluster.step()
    cluster.step()
    first = cluster.deleted_pods[-1]
    cluster.add_pod(first, ready=False)
    cluster.set_ready(first, False)
    cluster.step()
    assert len(cluster.deleted_pods) == 2


def test_nothing_is_replaced_while_everything_is_released():
    cluster = served()
    new_template(cluster)
    assert cluster.template is not None
    cluster.template = replace(cluster.template, releasing=True)
    cluster.step()
    cluster.step()
    assert cluster.deleted_pods == []


@pytest.mark.parametrize(("policy", "goes_on"), [("Release", True), ("Keep", False)])
def test_a_cordoned_node_that_released_the_vip_does_not_hold_up_a_rollout(policy, goes_on):
    cluster = served()
    cluster.edit("web", onCordon=policy)
    cluster.settle()
    node = next(n for n in cluster.nodes if n != cluster.status()["master"])
    cluster.nodes[node]["spec"] = {"unschedulable": True}
    cluster.report("web", node, "INIT", reason="the node is cordoned")
    cluster.settle()
    new_template(cluster)
    for _ in range(4):
        cluster.step()
        if cluster.deleted_pods[-1:] == [node]:
            break
        if cluster.deleted_pods:
            cluster.add_pod(cluster.deleted_pods[-1])
    cluster.add_pod(node)
    before = len(cluster.deleted_pods)
    cluster.step()
    assert (len(cluster.deleted_pods) > before) == goes_on


def without_secret(cluster: FakeCluster) -> None:
    cluster.add_vip(
        "secret", version=2, virtualRouterID=9,
        authentication={"type": "PASS", "passwordSecretRef": {"name": "none", "key": "password"}},
    )  # fmt: skip
    cluster.settle()
    for node in cluster.priorities("secret"):
        cluster.report("secret", node, "INIT", reason="SecretMissing: kube-vrrp's namespace has no Secret none")
    cluster.settle()


def test_a_vip_whose_secret_never_was_does_not_hold_up_a_rollout():
    cluster = served()
    without_secret(cluster)
    new_template(cluster)
    cluster.step()
    cluster.step()
    (first,) = cluster.deleted_pods
    cluster.add_pod(first)
    cluster.step()
    assert len(cluster.deleted_pods) == 2


def test_a_vip_that_lost_its_secret_to_the_new_speaker_does():
    cluster = served()
    new_template(cluster)
    cluster.step()
    cluster.step()
    (first,) = cluster.deleted_pods
    cluster.add_pod(first)
    cluster.report("web", first, "INIT", reason="SecretMissing: the speaker may not read the Secret vrrp")
    cluster.step()
    assert cluster.deleted_pods == [first]


@pytest.mark.parametrize(
    ("wanted", "misplaced", "goes_on"), [(3, 0, False), (2, 0, True), (2, 1, False), (None, 0, False)]
)
def test_a_node_that_is_to_have_no_new_pod_is_not_waited_for(wanted, misplaced, goes_on):
    """A taint came after the old pod; `misplaced` ones still run on such nodes, and are replaced in their turn."""
    cluster = served()
    new_template(cluster)
    cluster.step()
    cluster.step()
    assert len(cluster.deleted_pods) == 1
    assert cluster.daemon_set is not None
    cluster.daemon_set = replace(cluster.daemon_set, wanted=wanted, misplaced=misplaced)
    cluster.step()
    assert (len(cluster.deleted_pods) == 2) is goes_on
