"""Who takes part, with which priority; and that whoever is there stays as it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_operator.plan.changes import ApplyStatus, ClearEntry

from tests.operator_world import FakeCluster


def names(count: int, *, start: int = 1) -> list[str]:
    return [f"node{i}" for i in range(start, start + count)]


def test_priorities_are_derived_distinct_and_two_apart():
    cluster = FakeCluster(*names(3))
    cluster.add_vip()
    cluster.settle()
    assert sorted(cluster.priorities().values()) == [250, 252, 254]


def test_different_vips_prefer_different_nodes():
    cluster = FakeCluster(*names(3))
    for name in ("a", "b", "c", "d", "e", "f"):
        cluster.add_vip(name)
        cluster.advance(1)
    cluster.settle()
    firsts = [max(p := cluster.priorities(v), key=lambda n: p[n]) for v in cluster.vips]
    assert sorted(firsts) == sorted(names(3) * 2)


def test_positive_weights_are_taken_off_the_top():
    cluster = FakeCluster(*names(2))
    track = [
        {"name": "a", "weight": 20, "file": {"path": "/run/a"}},
        {"name": "b", "weight": -30, "file": {"path": "/run/b"}},
    ]
    cluster.add_vip(track=track)
    cluster.settle()
    assert sorted(cluster.priorities().values()) == [232, 234]


def test_a_given_priority_is_the_highest():
    cluster = FakeCluster(*names(3))
    cluster.add_vip(priority=100)
    cluster.settle()
    assert sorted(cluster.priorities().values()) == [96, 98, 100]


def test_where_steps_of_two_do_not_fit_steps_of_one_do():
    cluster = FakeCluster(*names(5))
    cluster.add_vip(priority=5)
    cluster.settle()
    assert sorted(cluster.priorities().values()) == [1, 2, 3, 4, 5]


def test_nodes_without_a_value_are_named():
    cluster = FakeCluster(*names(4))
    cluster.add_vip(priority=2)
    cluster.settle()
    assert sorted(cluster.priorities().values()) == [1, 2]
    assert cluster.condition("Degraded") == ("True", "PrioritiesExhausted")


def test_more_than_a_hundred_nodes_count_down_by_one():
    cluster = FakeCluster(*names(150))
    cluster.add_vip(maxNodes=150)
    cluster.settle()
    assert sorted(cluster.priorities().values()) == list(range(105, 255))


def test_groups_of_priorities_count_down_from_their_own_top():
    cluster = FakeCluster()
    for i in range(3):
        cluster.add_node(f"fast{i}", disk="fast")
        cluster.add_node(f"slow{i}", disk="slow")
    selector = {"matchLabels": {"disk": "fast"}}
    cluster.add_vip(priority=100, priorities=[{"nodeSelector": selector, "priority": 200}])
    cluster.settle()
    got = cluster.priorities()
    assert sorted(v for n, v in got.items() if n.startswith("fast")) == [196, 198, 200]
    assert sorted(v for n, v in got.items() if n.startswith("slow")) == [96, 98, 100]


def test_a_group_just_above_another_leaves_it_its_top():
    cluster = FakeCluster()
    cluster.add_node("a", tier="one")
    cluster.add_node("b", tier="one")
    cluster.add_node("c")
    selector = {"matchLabels": {"tier": "one"}}
    cluster.add_vip(priority=199, priorities=[{"nodeSelector": selector, "priority": 200}])
    cluster.settle()
    got = cluster.priorities()
    assert len(set(got.values())) == 3
    assert max(got["a"], got["b"]) == 200
    assert got["c"] == 199


def test_a_node_that_comes_gets_a_value_below():
    cluster = FakeCluster(*names(2))
    cluster.add_vip()
    cluster.up()
    before = cluster.priorities()
    cluster.add_node("node3")
    cluster.settle()
    assert cluster.priorities() == {**before, "node3": 250}


def firsts(cluster: FakeCluster) -> dict[str, str]:
    """The first choice of every VirtualIP."""
    return {v: max(p := cluster.priorities(v), key=lambda n: p[n]) for v in cluster.vips}


@pytest.mark.parametrize("spec", [{}, {"virtualRouterID": 7}], ids=["to be allocated", "given"])
def test_nodes_that_come_before_anybody_serves_are_first_choices_as_well(spec):
    """The speakers of a cluster do not begin at the same instant."""
    cluster = FakeCluster("node1")
    for number in range(6):
        cluster.add_vip(f"vip{number}", interfaces=[f"eth{number}"], **spec)
        cluster.advance(1)
    cluster.settle()
    assert set(firsts(cluster).values()) == {"node1"}
    for late in ("node2", "node3"):
        for name in cluster.vips:
            for node in cluster.priorities(name):
                cluster.report(name, node, "BACKUP" if spec else "INIT")
        cluster.add_node(late)
        cluster.settle()
    assert sorted(firsts(cluster).values()) == sorted(names(3) * 2)
    assert all(sorted(cluster.priorities(v).values()) == [250, 252, 254] for v in cluster.vips)


def test_nodes_without_a_value_have_nothing_ordered_anew():
    cluster = FakeCluster(*names(6))
    for number in range(12):
        cluster.add_vip(f"vip{number}", interfaces=[f"eth{number}"], priority=2)
    cluster.settle()
    before = {v: cluster.priorities(v) for v in cluster.vips}
    del cluster.vips["vip0"]
    cluster.add_node("node7")
    cluster.step()
    assert {v: cluster.priorities(v) for v in cluster.vips} == {v: p for v, p in before.items() if v != "vip0"}


def test_a_node_that_comes_when_one_serves_moves_nothing_though_the_master_is_gone_for_a_moment():
    cluster = FakeCluster("node1", "node2")
    for number in range(6):
        cluster.add_vip(f"vip{number}", interfaces=[f"eth{number}"])
        cluster.advance(1)
    for name in cluster.vips:
        cluster.up(name)
    before = firsts(cluster)
    cluster.add_node("node3")
    cluster.set_ready("node1", False)
    cluster.settle()
    assert firsts(cluster) == before


def test_what_speakers_run_is_adopted_and_not_ordered_anew_though_a_node_comes_meanwhile():
    """Restored without its status; of the two that run it none has said yet that it is MASTER."""
    cluster = FakeCluster("node1", "node2")
    cluster.add_vip()
    cluster.settle()
    cluster.report("web", "node2", "BACKUP", effectivePriority=240, virtualRouterID=77)
    cluster.report("web", "node1", "BACKUP", effectivePriority=238, virtualRouterID=77)
    cluster.add_node("node3")
    cluster.settle()
    assert cluster.vrid() == 77
    assert {n: p for n, p in cluster.priorities().items() if n != "node3"} == {"node2": 240, "node1": 238}


def test_a_node_that_goes_changes_no_other():
    cluster = FakeCluster(*names(3))
    cluster.add_vip()
    master = cluster.up()
    before = cluster.priorities()
    del cluster.nodes[master], cluster.pods[master]
    planned = cluster.step()
    assert [type(c) for c in planned.changes] == [ApplyStatus, ClearEntry]
    del before[master]
    assert cluster.priorities() == before
    cluster.settle()
    assert master not in [e["node"] for e in cluster.status()["nodes"]]


def test_a_vip_that_goes_changes_no_other():
    cluster = FakeCluster(*names(3))
    for name in ("a", "b", "c"):
        cluster.add_vip(name)
    cluster.settle()
    before = cluster.priorities("b")
    del cluster.vips["a"]
    cluster.add_vip("aa")
    cluster.settle()
    assert cluster.priorities("b") == before


def test_raising_the_priority_keeps_the_order():
    cluster = FakeCluster(*names(3))
    cluster.add_vip(priority=100)
    cluster.settle()
    before = cluster.priorities()
    cluster.edit("web", priority=200)
    cluster.settle()
    assert cluster.priorities() == {n: p + 100 for n, p in before.items()}


def test_a_priority_that_is_accepted_late_is_carried_out():
    """Its generation was refused at first, because of another VirtualIP that is gone now."""
    cluster = FakeCluster(*names(3))
    cluster.add_vip(addresses=["192.168.137.1"], priority=100)
    cluster.add_vip("other", addresses=["192.168.137.2"])
    cluster.up()
    before = cluster.priorities()
    cluster.edit("web", addresses=["192.168.137.1", "192.168.137.2"], priority=200)
    cluster.settle()
    assert cluster.priorities() == before
    del cluster.vips["other"]
    cluster.settle()
    assert cluster.priorities() == {n: p + 100 for n, p in before.items()}


def test_an_edit_of_something_else_moves_nothing():
    cluster = FakeCluster(*names(3))
    cluster.add_vip()
    cluster.up()
    before = cluster.priorities()
    cluster.edit("web", preempt=False)
    cluster.settle()
    assert cluster.priorities() == before


def test_a_label_that_moves_a_node_to_another_group_changes_only_that_node():
    cluster = FakeCluster(*names(3))
    cluster.add_vip(priority=100, priorities=[{"nodeSelector": {"matchLabels": {"vip": "first"}}, "priority": 200}])
    cluster.settle()
    before = cluster.priorities()
    lowest = min(before, key=lambda n: before[n])
    cluster.nodes[lowest]["metadata"]["labels"]["vip"] = "first"
    cluster.settle()
    assert cluster.priorities() == {**before, lowest: 200}


def test_the_selector_says_who_may():
    cluster = FakeCluster("node1")
    cluster.add_node("edge", role="edge")
    cluster.add_vip(nodeSelector={"matchExpressions": [{"key": "role", "operator": "In", "values": ["edge"]}]})
    cluster.settle()
    assert list(cluster.priorities()) == ["edge"]


def test_a_selector_without_nodes_is_said():
    cluster = FakeCluster("node1")
    cluster.add_vip(nodeSelector={"matchLabels": {"role": "edge"}})
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "NoEligibleNodes")


def test_at_most_max_nodes_take_part_and_they_stay():
    cluster = FakeCluster(*names(6))
    cluster.add_vip(maxNodes=2)
    cluster.settle()
    chosen = set(cluster.priorities())
    assert len(chosen) == 2
    for name in names(6, start=7):
        cluster.add_node(name)
    cluster.settle()
    assert set(cluster.priorities()) == chosen


def test_different_vips_are_on_different_nodes():
    cluster = FakeCluster(*names(20))
    for i in range(20):
        cluster.add_vip(f"vip{i}", maxNodes=2)
    cluster.settle()
    assert len({frozenset(cluster.priorities(v)) for v in cluster.vips}) > 10


def test_lowering_max_nodes_keeps_the_master():
    cluster = FakeCluster(*names(4))
    cluster.add_vip()
    cluster.up()
    worst = min(p := cluster.priorities(), key=lambda n: p[n])
    for node in cluster.priorities():
        cluster.report("web", node, "MASTER" if node == worst else "BACKUP")
    cluster.edit("web", maxNodes=2)
    cluster.step()
    assert worst in cluster.priorities()
    assert len(cluster.priorities()) == 2


def test_a_dead_node_is_stood_in_for_and_keeps_its_entry():
    cluster = FakeCluster(*names(3))
    cluster.add_vip(maxNodes=1)
    cluster.settle()
    first = next(iter(cluster.priorities()))
    cluster.set_ready(first, False)
    cluster.settle()
    assert len(cluster.priorities()) == 2
    assert first in cluster.priorities()
    assert [e["reporting"] for e in cluster.status()["nodes"] if e["node"] == first] == ["Unknown"]
    cluster.set_ready(first, True)
    cluster.settle()
    assert list(cluster.priorities()) == [first]


def test_a_node_without_the_link_does_not_count():
    cluster = FakeCluster(*names(4))
    cluster.add_vip(maxNodes=2)
    cluster.settle()
    without = next(iter(cluster.priorities()))
    cluster.report("web", without, "FAULT", reason="InterfaceMissing: no link has the subnet")
    cluster.settle()
    assert len(cluster.priorities()) == 3
    assert without in cluster.priorities()


def test_nobody_has_the_link():
    cluster = FakeCluster(*names(2))
    cluster.add_vip()
    cluster.settle()
    for node in names(2):
        cluster.report("web", node, "FAULT", reason="InterfaceMissing: no link has the subnet")
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "InterfaceMissing")
    assert "node1" in cluster.message("Ready")


def test_nodes_get_an_assignment_once_their_speaker_is_ready():
    cluster = FakeCluster()
    cluster.add_node("node1", pod=False)
    cluster.add_vip()
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "WaitingForSpeakers")
    cluster.add_pod("node1", ready=False)
    cluster.settle()
    assert cluster.priorities() == {}
    cluster.add_pod("node1")
    cluster.settle()
    assert cluster.priorities() == {"node1": 254}


def test_a_speaker_that_is_replaced_loses_nothing():
    cluster = FakeCluster(*names(2))
    cluster.add_vip()
    cluster.up()
    before = cluster.priorities()
    del cluster.pods["node1"]
    cluster.settle()
    assert cluster.priorities() == before


def test_the_charts_node_selector_counts():
    cluster = FakeCluster(*names(2))
    cluster.add_vip()
    cluster.settle()
    assert cluster.template is not None
    cluster.template.manifest["spec"]["template"]["spec"]["nodeSelector"] = {"role": "edge"}
    cluster.nodes["node1"]["metadata"]["labels"]["role"] = "edge"
    cluster.step()
    assert list(cluster.priorities()) == ["node1"]


def test_an_owner_is_one_node():
    cluster = FakeCluster(*names(2))
    cluster.add_vip(priority=255)
    cluster.settle()
    assert cluster.condition("Accepted") == ("False", "OwnerNotUnique")
    assert cluster.priorities() == {}
    cluster.edit("web", maxNodes=1, nodeSelector={"matchLabels": {"own": "yes"}})
    cluster.nodes["node2"]["metadata"]["labels"]["own"] = "yes"
    cluster.settle()
    assert cluster.priorities() == {"node2": 255}


def test_no_nodes_at_all_is_an_outage_and_not_a_plan():
    cluster = FakeCluster(*names(2))
    cluster.add_vip()
    cluster.up()
    cluster.nodes.clear()
    assert cluster.plan().changes == ()


def test_releasing_takes_everyone_out_and_keeps_the_vrid():
    cluster = FakeCluster(*names(2))
    cluster.add_vip()
    cluster.up()
    vrid = cluster.vrid()
    assert cluster.template is not None
    cluster.template = type(cluster.template)(
        config_map="kube-vrrp-speaker", config_map_uid="cm", manifest=cluster.template.manifest, releasing=True
    )
    cluster.settle()
    assert cluster.priorities() == {}
    assert cluster.vrid() == vrid
    assert cluster.condition("Ready")[1] in ("Released", "MasterElected")


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("node"), st.integers(0, 9)),
        st.tuples(st.just("gone"), st.integers(0, 9)),
        st.tuples(st.just("flip"), st.integers(0, 9)),
        st.tuples(st.just("vip"), st.integers(0, 5)),
        st.tuples(st.just("unvip"), st.integers(0, 5)),
        st.tuples(st.just("heard"), st.integers(0, 5)),
        st.tuples(st.just("elect"), st.integers(0, 5)),
        st.tuples(st.just("priority"), st.integers(0, 5)),
        st.tuples(st.just("vrid"), st.integers(0, 5)),
        st.tuples(st.just("max"), st.integers(1, 5)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(moves=MOVES)
def test_whatever_happens_plans_settle_and_values_stay_distinct(moves):
    cluster = FakeCluster("node0", "node1")
    for kind, number in moves:
        cluster.advance(7)
        _move(cluster, kind, number)
        cluster.step()
        assert cluster.plan().changes == ()
        for vip in cluster.vips:
            given = cluster.priorities(vip)
            assert len(set(given.values())) == len(given)
        used = [v for vip in cluster.vips if (v := cluster.vrid(vip)) is not None]
        assert len(set(used)) == len(used)


def _move(cluster: FakeCluster, kind: str, number: int) -> None:
    node, vip = f"node{number}", f"vip{number}"
    match kind:
        case "node" if node not in cluster.nodes:
            cluster.add_node(node)
        case "gone" if node in cluster.nodes:
            del cluster.nodes[node]
            cluster.pods.pop(node, None)
        case "flip" if node in cluster.nodes:
            cluster.set_ready(node, cluster.nodes[node]["status"]["conditions"][0]["status"] != "True")
        case "vip" if vip not in cluster.vips:
            cluster.add_vip(vip)
        case "unvip":
            cluster.vips.pop(vip, None)
        case "heard" if vip in cluster.vips:
            cluster.listened(vip, heard=(number + 1,))
        case "elect" if vip in cluster.vips and cluster.vrid(vip) is not None and cluster.priorities(vip):
            cluster.elect(vip)
        case "priority" if vip in cluster.vips:
            cluster.edit(vip, priority=50 + number)
        case "vrid" if vip in cluster.vips:
            cluster.edit(vip, virtualRouterID=number // 2 + 1)
        case "max" if cluster.vips:
            cluster.edit(min(cluster.vips), maxNodes=number)


def test_two_nodes_with_one_value_are_told_apart():
    cluster = FakeCluster(*names(2))
    cluster.add_vip()
    cluster.up()
    for entry in cluster.status()["nodes"]:
        entry["priority"] = 254
    cluster.step()
    assert sorted(cluster.priorities().values()) == [252, 254]


@pytest.mark.parametrize("labels", [{}, {"a": "1"}, {"a": "2", "b": "x"}])
def test_selectors(labels):
    from vip_api.model import LabelRequirement, LabelSelector
    from vip_operator.plan.selectors import matches

    def by(operator: str, *values: str) -> bool:
        requirement = LabelRequirement(key="a", operator=operator, values=values)
        return matches(LabelSelector(match_expressions=(requirement,)), labels)

    assert by("In", "1", "3") == (labels.get("a") == "1")
    assert by("NotIn", "1", "3") == (labels.get("a") != "1")
    assert by("Exists") == ("a" in labels)
    assert by("DoesNotExist") == ("a" not in labels)
    assert not by("Unknown")
    assert matches(LabelSelector(), labels)
    assert matches(LabelSelector(match_labels=(("b", "x"),)), labels) == (labels.get("b") == "x")


@pytest.mark.parametrize(
    ("weight", "reverse", "top"),
    [(20, False, 234), (20, True, 254), (-20, False, 254), (-20, True, 234), (0, True, 254)],
)
def test_the_derived_priority_leaves_room_for_what_a_check_may_add(weight, reverse, top):
    cluster = FakeCluster("node1")
    cluster.add_vip(
        virtualRouterID=51,
        track=[{"name": "disk", "weight": weight, "reverse": reverse, "node": {"condition": "DiskPressure"}}],
    )
    cluster.settle()
    assert cluster.priorities() == {"node1": top}


@pytest.mark.parametrize("policy", ["Release", "Demote"])
def test_cordoned_nodes_do_not_fill_the_places_of_others(policy):
    """All nodes of a pool are cordoned at once when it is replaced."""
    cluster = FakeCluster("old1", "old2")
    cluster.add_vip(maxNodes=2, onCordon=policy)
    cluster.up()
    for name in ("new1", "new2"):
        cluster.add_node(name)
    cluster.settle()
    for name in ("old1", "old2"):
        cluster.nodes[name]["spec"] = {"unschedulable": True}
    cluster.settle()
    assert cluster.priorities().keys() == {"old1", "old2", "new1", "new2"}
    for name in ("old1", "old2"):
        cluster.nodes[name]["spec"] = {}
    cluster.settle()
    assert cluster.priorities().keys() == {"old1", "old2"}


def test_a_cordoned_node_takes_part_where_there_is_no_other():
    cluster = FakeCluster("node1", "node2")
    cluster.nodes["node2"]["spec"] = {"unschedulable": True}
    cluster.add_vip(maxNodes=2, onCordon="Demote")
    cluster.settle()
    assert cluster.priorities().keys() == {"node1", "node2"}
    cluster.add_node("node3")
    cluster.settle()
    assert cluster.priorities().keys() == {"node1", "node2", "node3"}


def test_a_cordoned_node_takes_part_where_the_others_are_down():
    cluster = FakeCluster("node1")
    cluster.add_vip(maxNodes=1, onCordon="Demote")
    cluster.up()
    cluster.add_node("node2")
    cluster.nodes["node2"]["spec"] = {"unschedulable": True}
    cluster.settle()
    assert cluster.priorities().keys() == {"node1"}
    cluster.set_ready("node1", False)
    cluster.settle()
    assert cluster.priorities().keys() == {"node1", "node2"}


def test_no_more_entries_than_a_status_holds_while_nodes_are_exchanged():
    """Those that have to leave own theirs until their speakers have cleared them."""
    cluster = FakeCluster()
    for i in range(150):
        cluster.add_node(f"a{i:03}", zone="a")
        cluster.add_node(f"b{i:03}", zone="b")
    cluster.add_vip(maxNodes=200, virtualRouterID=7, nodeSelector={"matchLabels": {"zone": "a"}})
    cluster.settle()
    cluster.elect()
    cluster.settle()
    cluster.edit("web", nodeSelector={"matchLabels": {"zone": "b"}})
    cluster.step()
    assert len(cluster.status()["nodes"]) <= 254
