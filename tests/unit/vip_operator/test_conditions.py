"""What the conditions, the summary and the Events say."""

from datetime import timedelta

from vip_operator.plan import reconcile
from vip_operator.plan.changes import ApplyStatus, ClearEntry

from tests.operator_world import FakeCluster


def served(*nodes: str) -> FakeCluster:
    cluster = FakeCluster(*(nodes or ("node1", "node2", "node3")))
    cluster.add_vip(virtualRouterID=51)
    cluster.settle()
    cluster.elect()
    cluster.settle()
    return cluster


def master(cluster: FakeCluster) -> str:
    return str(cluster.status()["master"])


def test_a_served_vip_is_ready_and_summed_up():
    cluster = served()
    assert cluster.condition("Ready") == ("True", "MasterElected")
    assert cluster.condition("Accepted") == ("True", "Accepted")
    assert cluster.condition("Degraded")[0] == "False"
    assert cluster.condition("SplitBrain")[0] == "False"
    p = cluster.priorities()
    backups = sorted((n for n in p if n != master(cluster)), key=lambda n: -p[n])
    assert cluster.status()["backups"] == ", ".join(backups)
    assert cluster.status()["observedGeneration"] == 1


def test_a_steady_cluster_has_no_changes():
    cluster = served()
    cluster.advance(86400)
    assert cluster.plan().changes == ()
    assert cluster.plan().recheck_after_s is None


def test_transition_times_move_on_a_flip_only():
    cluster = served()
    times = {c["type"]: c["lastTransitionTime"] for c in cluster.status()["conditions"]}
    cluster.advance(60)
    cluster.edit("web", preempt=False)
    for node in cluster.priorities():
        cluster.report("web", node, "FAULT", reason="link is down")
    cluster.settle()
    now = {c["type"]: c["lastTransitionTime"] for c in cluster.status()["conditions"]}
    assert now["Accepted"] == times["Accepted"]
    assert now["Ready"] != times["Ready"]
    assert {c["observedGeneration"] for c in cluster.status()["conditions"]} == {2}


def test_a_cut_master_is_superseded_and_no_split_brain():
    cluster = served()
    old = master(cluster)
    cluster.advance(3)
    new = next(n for n in cluster.priorities() if n != old)
    cluster.report("web", new, "MASTER")
    cluster.settle()
    assert master(cluster) == new
    assert cluster.condition("SplitBrain") == ("False", "NoOtherMaster")
    assert cluster.plan().recheck_after_s is not None


def test_two_masters_that_both_reach_the_api_are_a_split_brain():
    cluster = served()
    old = master(cluster)
    cluster.advance(3)
    new = next(n for n in cluster.priorities() if n != old)
    cluster.report("web", new, "MASTER")
    cluster.renewed_at[old] = cluster.now + timedelta(seconds=1)
    cluster.settle()
    assert cluster.condition("SplitBrain")[0] == "False"
    cluster.renewed_at[old] = cluster.now + timedelta(seconds=3)
    cluster.settle()
    assert cluster.condition("SplitBrain") == ("True", "SeveralMasters")
    assert old in cluster.message("SplitBrain")
    cluster.report("web", old, "BACKUP")
    cluster.settle()
    assert cluster.condition("SplitBrain")[0] == "False"


def test_a_speaker_that_hears_another_master_is_believed():
    cluster = served()
    cluster.report("web", master(cluster), "MASTER", reason="AnotherMaster: 192.168.137.9 advertises as well")
    cluster.settle()
    assert cluster.condition("SplitBrain") == ("True", "AnotherMaster")
    assert "192.168.137.9" in cluster.message("SplitBrain")


def test_a_master_that_is_not_heard_of_leaves_it_unknown():
    cluster = served()
    cluster.set_ready(master(cluster), False)
    cluster.settle()
    assert cluster.condition("Ready") == ("Unknown", "Unreported")
    assert cluster.condition("Degraded") == ("True", "Unreported")


def test_faults_are_named_with_their_reason():
    cluster = served()
    backup = next(n for n in cluster.priorities() if n != master(cluster))
    cluster.report("web", backup, "FAULT", reason="eth0 is down")
    cluster.settle()
    assert cluster.condition("Ready")[0] == "True"
    assert cluster.condition("Degraded") == ("True", "NodesFault")
    assert "eth0 is down" in cluster.message("Degraded")
    for node in cluster.priorities():
        cluster.report("web", node, "FAULT", reason="eth0 is down")
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "AllNodesFault")
    assert cluster.message("Ready") == "node1, node2, node3: FAULT, eth0 is down"
    assert cluster.condition("Degraded") == ("True", "NodesFault")
    assert cluster.message("Degraded") == "not served: see Ready"


def test_a_link_that_is_missing_everywhere_is_said_once():
    cluster = served("node1", "node2")
    for node in cluster.priorities():
        cluster.report("web", node, "FAULT", reason="InterfaceMissing: spec.interfaces: no link is called ens9")
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "InterfaceMissing")
    assert cluster.message("Ready") == "node1, node2: FAULT, spec.interfaces: no link is called ens9"
    assert cluster.message("Degraded") == "not served: see Ready"


def test_what_is_not_served_is_not_called_well():
    cluster = FakeCluster("node1")
    cluster.add_vip()
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "Listening")
    assert cluster.condition("Degraded") == ("False", "AllNodesWell")
    assert cluster.message("Degraded") == "not served: see Ready"
    cluster.up()
    assert cluster.message("Degraded") == "no trouble is known of the nodes that take part"


def test_a_password_that_cannot_be_had_is_degraded_while_the_one_before_is_in_force():
    cluster = served()
    missing = "SecretMissing: kube-vrrp's namespace has no Secret nope with the key password"
    for node in cluster.priorities():
        role = "MASTER" if node == master(cluster) else "BACKUP"
        cluster.report("web", node, role, reason=f"{missing}; started; disk full: -10")
    cluster.settle()
    assert cluster.condition("Ready") == ("True", "MasterElected")
    assert cluster.condition("Degraded") == ("True", "SecretMissing")
    assert cluster.message("Degraded") == (
        "node1, node2, node3: kube-vrrp's namespace has no Secret nope with the key password"
    )


def test_another_host_with_the_address_is_degraded_once_it_is_no_hand_over():
    cluster = served()
    node = master(cluster)
    claim = "DuplicateAddress: 8a:67:00:00:00:09 claims 192.168.137.100"
    cluster.report("web", node, "MASTER", effectivePriority=254, reason=f"started; {claim}")
    cluster.settle()
    assert cluster.condition("Degraded") == ("False", "AllNodesWell")
    assert cluster.plan().recheck_after_s == 3
    cluster.advance(3)
    cluster.settle()
    assert cluster.condition("Degraded") == ("True", "DuplicateAddress")
    assert cluster.message("Degraded") == f"{node}: 8a:67:00:00:00:09 claims 192.168.137.100"
    assert cluster.condition("Ready")[0] == "True"
    cluster.report("web", node, "MASTER", effectivePriority=244, reason=f"started; {claim}; disk full: -10")
    cluster.settle()
    assert cluster.condition("Degraded") == ("True", "DuplicateAddress"), "it is no new one"
    cluster.report("web", node, "MASTER", effectivePriority=254, reason="started")
    cluster.settle()
    assert cluster.condition("Degraded") == ("False", "AllNodesWell")


def test_a_claim_that_ends_with_a_hand_over_is_no_duplicate():
    cluster = served()
    node = master(cluster)
    cluster.report("web", node, "MASTER", reason="DuplicateAddress: 8a:67:00:00:00:09 claims 192.168.137.100")
    cluster.settle()
    cluster.events.clear()
    cluster.report("web", node, "BACKUP", reason="192.168.137.12 has a higher priority")
    cluster.report("web", next(n for n in cluster.priorities() if n != node), "MASTER")
    cluster.advance(5)
    cluster.settle()
    assert [e.reason for _, e in cluster.events] == ["MasterChanged"]


def test_without_a_password_nobody_is_ready_and_the_reason_is_that():
    cluster = served()
    for node in cluster.priorities():
        cluster.report("web", node, "INIT", reason="PasswordInvalid: it is too long")
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "PasswordInvalid")
    assert cluster.message("Ready") == "node1, node2, node3: it is too long"
    cluster.report("web", "node1", "INIT", reason="SecretMissing: it is gone")
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "SecretMissing")
    cluster.report("web", "node1", "BACKUP", reason="started")
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "Electing")


def test_what_many_nodes_say_is_told_in_few_words():
    cluster = served(*(f"node{n}" for n in range(1, 9)))
    for number, node in enumerate(sorted(cluster.priorities())):
        reason = "same" if number < 4 else f"other {number}"
        cluster.report("web", node, "INIT", reason=f"SecretMissing: {reason}")
    cluster.settle()
    assert cluster.message("Ready").endswith(" and 1 more: same; node5: other 4; node6: other 5; and 2 more")


def test_an_address_belongs_to_the_vip_that_has_it():
    cluster = served()
    cluster.add_vip("thief", addresses=["192.168.137.99", "192.168.137.100/24"])
    cluster.settle()
    assert cluster.condition("Accepted", "thief") == ("False", "AddressConflict")
    assert "web" in cluster.message("Accepted", "thief")
    assert cluster.condition("Ready", "thief") == ("False", "AddressConflict")
    assert cluster.priorities("thief") == {}
    assert cluster.condition("Accepted", "web")[0] == "True"


def test_of_two_new_ones_the_older_gets_the_address():
    cluster = FakeCluster("node1")
    cluster.add_vip("b", addresses=["10.0.0.1"])
    cluster.advance(1)
    cluster.add_vip("a", addresses=["10.0.0.1"])
    cluster.settle()
    assert cluster.condition("Accepted", "b")[0] == "True"
    assert cluster.condition("Accepted", "a")[0] == "False"


def test_an_edit_that_takes_an_address_does_not_displace_its_holder():
    cluster = served()
    cluster.add_vip("young", virtualRouterID=52)
    cluster.settle()
    before = cluster.priorities("web")
    cluster.edit("web", addresses=["192.168.137.101"])
    cluster.settle()
    assert cluster.condition("Accepted", "web") == ("False", "AddressConflict")
    assert cluster.condition("Degraded", "web") == ("True", "AddressConflict")
    assert cluster.priorities("web") == before
    assert cluster.vrid("web") == 51
    assert cluster.condition("Accepted", "young")[0] == "True"


def test_what_is_held_is_what_the_document_in_force_says():
    cluster = served()
    node = master(cluster)
    cluster.add_vip("young", virtualRouterID=52)
    cluster.settle()
    assert cluster.message("Ready", "web") == f"{node} holds 192.168.137.100"
    cluster.report("web", node, "MASTER", observedGeneration=1)
    cluster.edit("web", addresses=["192.168.137.101"])
    cluster.settle()
    assert cluster.message("Ready", "web") == f"{node} holds 192.168.137.100, by generation 1, the document before"
    del cluster.status("web")["acceptedAddresses"]  # as an operator left it that did not write them
    cluster.settle()
    assert cluster.message("Ready", "web") == f"{node} holds the addresses, by generation 1, the document before"


def test_many_addresses_are_told_in_few_words():
    cluster = FakeCluster("node1")
    cluster.add_vip(addresses=[f"192.168.137.{n}" for n in range(100, 164)])
    cluster.up()
    assert cluster.message("Ready") == "node1 holds 192.168.137.100, 192.168.137.101, 192.168.137.102 +61"
    assert cluster.status()["addresses"] == "192.168.137.100, 192.168.137.101, 192.168.137.102 +61"
    assert len(cluster.status()["acceptedAddresses"]) == 64
    cluster.edit("web", addresses=["192.168.137.100", "2001:db8::100/64"])
    cluster.settle()
    assert cluster.status()["addresses"] == "192.168.137.100, 2001:db8::100"


def test_the_version_in_use_is_told():
    cluster = served()
    assert cluster.status()["version"] == 3
    cluster.edit("web", version=2)
    cluster.settle()
    assert cluster.status()["version"] == 2
    cluster.add_vip("young", virtualRouterID=52)
    cluster.settle()
    cluster.edit("web", version=3, addresses=["192.168.137.101"])
    cluster.settle()
    assert cluster.condition("Accepted")[1] == "AddressConflict"
    assert cluster.status()["version"] == 2, "of the document before"


def test_what_got_past_the_schema_is_invalid_and_holds_up_no_other():
    cluster = FakeCluster("node1")
    cluster.add_vip("bad", addresses=["not an address"])
    cluster.add_vip("good", virtualRouterID=5)
    cluster.settle()
    assert cluster.condition("Accepted", "bad") == ("False", "Invalid")
    assert "addresses[0]" in cluster.message("Accepted", "bad")
    assert cluster.vrid("good") == 5


def test_forbidden_pods_are_said():
    from dataclasses import replace

    cluster = FakeCluster()
    cluster.add_node("node1", pod=False)
    cluster.add_vip()
    cluster.settle()
    assert cluster.daemon_set is not None
    cluster.daemon_set = replace(cluster.daemon_set, refusal='violates PodSecurity "restricted:latest"')
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "SpeakerPodsForbidden")


def test_events_are_for_transitions():
    cluster = served()
    told = [(e.type, e.reason) for _, e in cluster.events]
    assert told == [("Normal", "Electing"), ("Normal", "MasterChanged")]
    cluster.events.clear()
    old = master(cluster)
    new = next(n for n in cluster.priorities() if n != old)
    cluster.advance(1)
    cluster.report("web", new, "MASTER", reason=f"nothing heard from {old}")
    cluster.report("web", old, "BACKUP")
    cluster.settle()
    assert [(e.reason, e.message) for _, e in cluster.events] == [
        ("MasterChanged", f"{new} is MASTER: nothing heard from {old}")
    ]
    cluster.events.clear()
    cluster.report("web", new, "FAULT", reason="eth0 is down")
    cluster.settle()
    assert ("Warning", "NodesFault") in [(e.type, e.reason) for _, e in cluster.events]
    assert "eth0 is down" in "".join(e.message for _, e in cluster.events)


def test_one_that_is_on_its_way_is_told_of_once_and_then_its_master():
    cluster = FakeCluster("node1", "node2")
    cluster.add_vip()
    cluster.up()
    assert [e.reason for _, e in cluster.events] == ["Listening", "MasterChanged"]
    cluster.events.clear()
    cluster.report("web", master(cluster), "BACKUP")
    cluster.settle()
    assert [e.reason for _, e in cluster.events] == ["Electing"]


def test_the_end_of_a_trouble_is_told_beside_the_master():
    cluster = served("node1", "node2")
    for node in cluster.priorities():
        cluster.report("web", node, "FAULT", reason="eth0 is down")
    cluster.settle()
    cluster.events.clear()
    cluster.elect()
    cluster.settle()
    assert {"MasterElected", "MasterChanged"} <= {e.reason for _, e in cluster.events}


def test_what_becomes_of_an_election_is_one_write():
    cluster = FakeCluster("node1", "node2", "node3")
    cluster.add_vip(virtualRouterID=51)
    cluster.settle()
    best = max(cluster.priorities(), key=lambda n: cluster.priorities()[n])
    cluster.report("web", best, "MASTER", effectivePriority=254, virtualRouterID=51)
    planned = cluster.plan()
    assert planned.changes == ()
    assert planned.recheck_after_s is not None
    for node in cluster.priorities().keys() - {best}:
        cluster.report("web", node, "BACKUP", virtualRouterID=51)
    cluster.settle()
    assert cluster.condition("Ready") == ("True", "MasterElected")
    assert len(cluster.status()["backups"].split(", ")) == 2


def test_a_node_that_says_nothing_does_not_hold_up_what_the_others_became():
    cluster = FakeCluster("node1", "node2")
    cluster.add_vip(virtualRouterID=51)
    cluster.settle()
    cluster.report("web", "node1", "MASTER", effectivePriority=254, virtualRouterID=51)
    assert cluster.plan().changes == ()
    cluster.advance(1)
    cluster.settle()
    assert cluster.condition("Ready") == ("True", "MasterElected")


def test_a_clock_that_differs_from_the_api_server_s_holds_nothing_up():
    cluster = FakeCluster("node1", "node2")
    cluster.add_vip(virtualRouterID=51)
    cluster.settle()
    cluster.advance(3600)
    cluster.report("web", "node1", "MASTER", effectivePriority=254, virtualRouterID=51)
    cluster.advance(-3600)
    cluster.settle()
    assert cluster.condition("Ready") == ("True", "MasterElected")


def test_what_nodes_act_on_is_urgent_and_what_people_read_is_not():
    cluster = FakeCluster("node1", "node2")
    cluster.add_vip()

    def urgent():
        return [c.urgent for c in cluster.step().changes if isinstance(c, ApplyStatus)]

    assert urgent() == [True]
    cluster.listened()
    assert urgent() == [True], "it has a virtual router ID now"
    cluster.elect()
    assert urgent() == [False]
    cluster.set_ready("node1", False)
    assert urgent() == [True], "the node's part says Unknown"


def test_a_large_status_is_not_made_larger_by_messages():
    cluster = FakeCluster(*(f"node{i}" for i in range(120)))
    cluster.add_vip(virtualRouterID=51, maxNodes=120)
    cluster.settle()
    for node in cluster.priorities():
        cluster.report("web", node, "FAULT", reason="x" * 1000)
    cluster.settle()
    assert max(len(c["message"]) for c in cluster.status()["conditions"]) <= 1024
    cluster.elect()
    cluster.settle()
    assert len(cluster.status()["backups"]) <= 1024


def test_the_agent_that_lives_clears_its_own_entry():
    cluster = served()
    cluster.edit("web", nodeSelector={"matchLabels": {"a": "b"}})
    planned = cluster.step()
    assert [type(c) for c in planned.changes] == [ApplyStatus]
    assert cluster.priorities() == {}
    assert len(cluster.status()["nodes"]) == 3
    cluster.set_ready("node1", False)
    assert [(c.node, c.field_manager) for c in cluster.step().changes if isinstance(c, ClearEntry)] == [
        ("node1", "kube-vrrp-speaker-node1")
    ]


def test_a_node_that_no_longer_exists_is_no_master_from_the_same_plan_on():
    cluster = served()
    gone = master(cluster)
    del cluster.nodes[gone]
    del cluster.pods[gone]
    cluster.settle()
    assert cluster.status().get("master") is None
    assert cluster.condition("Ready") == ("False", "Electing")


def httpd(name="httpd", **more):
    return {"name": name, "tcp": {"host": "10.0.0.1", "port": 80}, **more}


def failing(cluster: FakeCluster, *checks: str, nodes=None) -> None:
    for node in nodes or cluster.priorities():
        role = "MASTER" if node == master(cluster) else "BACKUP"
        reason = "; ".join(["started", *(f"{check}: connection refused: -10" for check in checks)])
        cluster.report("web", node, role, reason=reason)
    cluster.settle()


def test_a_check_that_fails_on_every_node_is_said():
    cluster = served()
    cluster.edit("web", track=[httpd(weight=-10), httpd("other", weight=-10)])
    cluster.settle()
    failing(cluster, "httpd", nodes=["node1", "node2"])
    assert cluster.condition("Degraded") == ("False", "AllNodesWell")
    failing(cluster, "httpd")
    assert cluster.condition("Degraded") == ("True", "CheckFailsEverywhere")
    assert cluster.message("Degraded") == (
        "check httpd fails on every node: node1, node2, node3: connection refused: -10"
    )
    cluster.report("web", next(n for n in cluster.priorities() if n != master(cluster)), "FAULT", reason="eth0 is down")
    cluster.settle()
    assert "check httpd fails on every node" in cluster.message("Degraded"), "that one does not say"
    failing(cluster, nodes=["node3"])
    assert "check httpd" not in cluster.message("Degraded")


def test_a_check_that_is_bad_while_all_is_well_fails_nowhere():
    cluster = served()
    cluster.edit("web", track=[httpd(weight=10, reverse=True), {"name": "n", "weight": 1, "file": {"path": "/n"}}])
    cluster.settle()
    failing(cluster, "httpd", "n")
    assert cluster.condition("Degraded")[1] != "CheckFailsEverywhere"
    assert "every node" not in cluster.message("Degraded")


def test_a_weight_that_moves_nothing_is_degraded_and_says_what_it_takes():
    cluster = served()
    cluster.edit("web", track=[httpd(weight=-2), httpd("other", weight=-3)])
    cluster.settle()
    assert cluster.condition("Accepted") == ("True", "Accepted")
    assert cluster.condition("Degraded") == ("True", "WeightTooSmall")
    best, second, _ = sorted(cluster.priorities(), key=lambda n: -cluster.priorities()[n])
    assert cluster.message("Degraded") == (
        f"check httpd: weight -2 brings {best} from 254 to 252 when it fails, not below the 252 of {second}: "
        "nothing moves; it takes 3 or more"
    )
    cluster.edit("web", track=[httpd(weight=-3)])
    cluster.settle()
    assert cluster.condition("Degraded") == ("False", "AllNodesWell")


def test_the_checks_of_a_refused_edit_are_not_judged():
    cluster = served()
    cluster.add_vip("other", virtualRouterID=52, addresses=["192.168.137.201/24"])
    cluster.settle()
    cluster.edit("web", addresses=["192.168.137.201/24"], track=[httpd(weight=-2)])
    cluster.settle()
    assert cluster.condition("Degraded") == ("True", "AddressConflict")
    assert "check httpd" not in cluster.message("Degraded")


def test_a_bug_that_one_virtualip_brings_out_stops_no_other(monkeypatch):
    cluster = served()
    sound = reconcile.judge

    def spoilt(situation):
        assert situation.vip.name != "web", "a bug"
        return sound(situation)

    monkeypatch.setattr(reconcile, "judge", spoilt)
    cluster.has_bugs = True
    before = dict(cluster.status("web"))
    cluster.edit("web", priority=100)
    cluster.add_vip("other", virtualRouterID=52, addresses=["192.168.137.201"])
    cluster.settle()
    assert cluster.status("web") == before
    assert cluster.condition("Accepted", "other")[0] == "True"
    assert cluster.plan().recheck_after_s is not None
    monkeypatch.undo()
    cluster.settle()
    assert max(cluster.priorities("web").values()) == 100


def test_a_weight_that_moves_the_best_node_only_names_the_next():
    cluster = FakeCluster("node1", "node2", "node3")
    for number, name in enumerate(cluster.nodes):
        cluster.nodes[name]["metadata"]["labels"] = {"rank": str(number)}
    selected = [({"matchLabels": {"rank": str(n)}}, p) for n, p in enumerate((200, 195, 100))]
    cluster.add_vip(
        virtualRouterID=51,
        priorities=[{"nodeSelector": s, "priority": p} for s, p in selected],
        track=[httpd(weight=10)],
    )
    cluster.settle()
    assert cluster.condition("Degraded") == ("True", "WeightTooSmall")
    assert "brings node2 from 205 to 195 when it fails, not below the 110 of node3" in cluster.message("Degraded")


def test_many_weak_checks_are_told_in_few_words():
    cluster = served()
    cluster.edit("web", track=[httpd(f"c{n}", weight=-1) for n in range(20)])
    cluster.settle()
    assert cluster.message("Degraded").count("check c") == 3
    assert cluster.message("Degraded").endswith("; and 17 more checks")


def test_one_node_alone_is_told_nothing_about_weights():
    cluster = served("node1")
    cluster.edit("web", track=[httpd(weight=-1)])
    cluster.settle()
    assert cluster.condition("Degraded")[0] == "False"
