"""Which VRID a VirtualIP gets, when, and who yields in a conflict."""

import pytest
from vip_operator.plan.changes import ApplyStatus
from vip_operator.plan.vrids import LISTENING_LIMIT, search_start

from tests.operator_world import FakeCluster


def cluster_with(*vips: str, **spec: object) -> FakeCluster:
    cluster = FakeCluster("node1", "node2")
    for name in vips:
        cluster.add_vip(name, **spec)
        cluster.advance(1)
    cluster.settle()
    return cluster


def test_a_given_vrid_waits_for_nothing():
    cluster = cluster_with("web", virtualRouterID=51)
    assert cluster.vrid() == 51


def test_an_allocated_one_waits_until_all_have_listened():
    cluster = cluster_with("web")
    assert cluster.vrid() is None
    assert cluster.condition("Ready") == ("False", "Listening")
    cluster.report("web", "node1", "INIT", link={"subnets": [], "heard": []})
    cluster.settle()
    assert cluster.vrid() is None
    assert cluster.plan().recheck_after_s is not None
    cluster.listened()
    cluster.settle()
    assert cluster.vrid() == search_start("cluster", "web")


def test_a_speaker_that_stays_silent_holds_up_the_others_only_so_long():
    cluster = cluster_with("web")
    cluster.report("web", "node1", "INIT", link={"subnets": [], "heard": []})
    cluster.advance(15)
    cluster.settle()
    assert cluster.vrid() is not None


def test_nobody_listened_means_no_vrid_however_long_it_takes():
    cluster = cluster_with("web")
    cluster.advance(3600)
    cluster.settle()
    assert cluster.vrid() is None


def test_a_vip_made_anew_gets_the_vrid_it_had_though_a_node_heard_its_predecessor_to_the_last():
    cluster = cluster_with("web")
    start = search_start("cluster", "web")
    cluster.listened(heard=(start,))
    cluster.settle()
    assert cluster.vrid() is None
    cluster.listened()  # the last node has let go of it
    cluster.settle()
    assert cluster.vrid() == start


def test_what_is_heard_on_the_link_is_taken():
    cluster = cluster_with("web")
    start = search_start("cluster", "web")
    cluster.listened(heard=(start, start % 255 + 1))
    cluster.settle()
    assert cluster.vrid() is None, "it may yet fall silent"
    cluster.advance(LISTENING_LIMIT.total_seconds())
    cluster.settle()
    assert cluster.vrid() == (start + 1) % 255 + 1


def waiting(*vips):
    """One of them was reported, for the others too."""
    cluster = cluster_with(*vips)
    first, *others = vips
    uids = [cluster.vips[name]["metadata"]["uid"] for name in others]

    def listened(*nodes, heard=()):
        for node in nodes:
            link = {"subnets": ["192.168.137.0/24"], "heard": list(heard), "alsoFor": uids}
            cluster.report(first, node, "INIT", link=link)

    return cluster, listened


def test_what_a_node_heard_counts_for_all_that_it_names():
    cluster, listened = waiting("web", "db", "mail")
    taken = search_start("cluster", "db")
    listened("node1")
    cluster.settle()
    assert cluster.vrid("db") is None, "node2 has not said it"
    listened("node2", heard=[taken])
    cluster.advance(LISTENING_LIMIT.total_seconds())
    cluster.settle()
    assert [cluster.vrid(name) for name in ("web", "mail")] == [search_start("cluster", n) for n in ("web", "mail")]
    assert cluster.vrid("db") not in (None, taken)


def test_the_oldest_gets_its_virtual_router_id_first():
    """The youngest speaks for all on a node, and stops once it takes part."""
    cluster = FakeCluster("node1", "node2")
    for name in ("web", "db", "mail"):
        cluster.add_vip(name)
        cluster.advance(1)
    changes = cluster.plan().changes
    assert [one.vip for one in changes if isinstance(one, ApplyStatus)] == ["web", "db", "mail"]


def test_one_of_the_same_name_made_anew_was_not_named():
    cluster, listened = waiting("web", "db")
    del cluster.vips["db"]
    cluster.add_vip("db")
    cluster.settle()
    listened("node1", "node2")
    cluster.settle()
    assert cluster.vrid("web") is not None
    assert cluster.vrid("db") is None


def test_one_that_runs_on_a_node_is_adopted_though_the_others_heard_nothing():
    """Restored from a backup without its status while node1 runs it; node2 is new and names it as one that waits."""
    cluster, listened = waiting("web", "db")
    cluster.report("db", "node1", "MASTER", effectivePriority=200, virtualRouterID=77)
    listened("node2")
    cluster.settle()
    assert cluster.vrid("db") == 77
    assert cluster.priorities("db")["node1"] == 200


def test_a_virtual_ip_of_ours_that_has_the_first_choice_is_not_waited_for():
    """Two names begin the search at the same number; it will not fall silent."""
    start = search_start("cluster", "web")
    other = next(n for n in (f"vip{i}" for i in range(9999)) if search_start("cluster", n) == start)
    cluster = cluster_with(other)
    cluster.up(other)
    assert cluster.vrid(other) == start
    cluster.add_vip("web")
    cluster.settle()
    cluster.listened(heard=(start,))
    cluster.settle()
    assert cluster.vrid() == start % 255 + 1


def test_two_clusters_begin_elsewhere():
    assert len({search_start(f"cluster{i}", "web") for i in range(20)}) > 10
    assert all(1 <= search_start(str(i), "web") <= 255 for i in range(2000))


def test_no_vrid_twice_on_one_link():
    cluster = FakeCluster("node1", "node2")
    for i in range(255):
        cluster.add_vip(f"vip{i}")
    cluster.settle()
    for name in cluster.vips:
        cluster.listened(name)
    cluster.settle()
    assert sorted(cluster.vrid(v) or 0 for v in cluster.vips) == list(range(1, 256))
    cluster.add_vip("late")
    cluster.settle()
    cluster.listened("late")
    cluster.settle()
    assert cluster.vrid("late") is None
    assert cluster.condition("Ready", "late") == ("False", "NoFreeVRID")


def test_it_is_kept_although_others_use_it_later():
    cluster = cluster_with("web")
    cluster.up()
    before = cluster.vrid()
    assert before is not None
    cluster.add_vip("other", virtualRouterID=before)
    cluster.settle()
    assert cluster.vrid() == before
    assert cluster.vrid("other") is None
    assert cluster.condition("Ready", "other") == ("False", "VRIDConflict")
    assert "web" in cluster.message("Ready", "other")


def test_explicit_goes_before_allocated_where_neither_is_in_use():
    cluster = cluster_with("web")
    cluster.listened()
    cluster.add_vip("other", virtualRouterID=search_start("cluster", "web"))
    cluster.settle()
    assert cluster.vrid("other") == search_start("cluster", "web")
    assert cluster.vrid("web") not in (None, cluster.vrid("other"))


def test_the_older_wins_then_the_name():
    cluster = cluster_with("b", "a", virtualRouterID=7)
    assert cluster.vrid("b") == 7
    assert cluster.vrid("a") is None
    cluster = FakeCluster("node1")
    cluster.add_vip("b", virtualRouterID=7)
    cluster.add_vip("a", virtualRouterID=7)
    cluster.settle()
    assert cluster.vrid("a") == 7
    assert cluster.vrid("b") is None


def test_the_loser_follows_when_the_winner_goes():
    cluster = cluster_with("b", "a", virtualRouterID=7)
    del cluster.vips["b"]
    cluster.settle()
    assert cluster.vrid("a") == 7


def test_an_edit_to_a_taken_vrid_goes_on_with_the_former():
    cluster = cluster_with("a", virtualRouterID=7)
    cluster.add_vip("b", virtualRouterID=8)
    cluster.settle()
    cluster.edit("a", virtualRouterID=8)
    cluster.settle()
    assert cluster.vrid("a") == 7
    assert cluster.condition("Degraded", "a") == ("True", "VRIDConflict")
    assert "goes on with 7" in cluster.message("Degraded", "a")
    del cluster.vips["b"]
    cluster.settle()
    assert cluster.vrid("a") == 8


def test_a_vrid_that_its_holder_gives_up_is_free_in_the_same_plan():
    cluster = cluster_with("a", virtualRouterID=7)
    cluster.edit("a", virtualRouterID=9)
    cluster.add_vip("b", virtualRouterID=7)
    cluster.step()
    cluster.settle()
    assert (cluster.vrid("a"), cluster.vrid("b")) == (9, 7)


def test_two_that_swap_do_not_meet():
    cluster = cluster_with("a", virtualRouterID=7)
    cluster.add_vip("b", virtualRouterID=8)
    cluster.settle()
    cluster.edit("a", virtualRouterID=8)
    cluster.edit("b", virtualRouterID=7)
    cluster.settle()
    assert {cluster.vrid("a"), cluster.vrid("b")} == {7, 8}
    assert cluster.condition("Degraded", "a") == ("True", "VRIDConflict")


def test_other_family_other_virtual_router():
    cluster = cluster_with("four", virtualRouterID=7)
    cluster.add_vip("six", virtualRouterID=7, addresses=["fd00::7"])
    cluster.settle()
    assert cluster.vrid("four") == cluster.vrid("six") == 7


def test_other_link_other_virtual_router():
    cluster = cluster_with("a", virtualRouterID=7, interfaces=["eth0"])
    cluster.add_vip("b", virtualRouterID=7, interfaces=["eth1"])
    cluster.add_vip("c", virtualRouterID=7, interfaces=["eth*"])
    cluster.settle()
    assert (cluster.vrid("a"), cluster.vrid("b"), cluster.vrid("c")) == (7, 7, None)


def test_a_conflict_ends_when_the_speakers_show_different_links():
    cluster = cluster_with("a", virtualRouterID=7)
    cluster.elect("a")
    cluster.add_vip("b", virtualRouterID=7)
    cluster.settle()
    assert cluster.vrid("b") is None
    cluster.report("b", "node1", "INIT", interface="eth1")
    cluster.settle()
    assert cluster.vrid("b") == 7


def test_a_restored_vip_gets_the_vrid_and_priorities_that_speakers_report():
    cluster = cluster_with("web")
    cluster.settle()
    cluster.report("web", "node1", "BACKUP", virtualRouterID=99, effectivePriority=120)
    cluster.report("web", "node2", "MASTER", virtualRouterID=99, effectivePriority=150)
    cluster.settle()
    assert cluster.vrid() == 99
    assert cluster.priorities() == {"node1": 120, "node2": 150}


def test_a_restored_vip_waits_for_all_speakers_that_can_report():
    cluster = cluster_with("web")
    cluster.report("web", "node1", "BACKUP", virtualRouterID=99, effectivePriority=120)
    cluster.settle()
    assert cluster.vrid() is None
    cluster.advance(15)
    cluster.settle()
    assert cluster.vrid() == 99


def on_nodes(which: str) -> dict[str, object]:
    return {"nodeSelector": {"matchLabels": {"on": which}}}


def on_two_pairs() -> FakeCluster:
    cluster = FakeCluster()
    for node, pair in {"node1": "a", "node2": "a", "node3": "b", "node4": "b"}.items():
        cluster.add_node(node, on=pair)
    return cluster


@pytest.mark.parametrize("bad", [["192.168.137.21"], ["nonsense"]])
def test_a_refused_edit_leaves_nobody_else_the_vrid_that_is_still_in_use(bad: list[str]):
    cluster = on_two_pairs()
    cluster.set_addresses("node1", "192.168.137.21")
    cluster.add_vip("web", virtualRouterID=50, **on_nodes("a"))
    cluster.up("web")
    cluster.edit("web", addresses=bad)
    cluster.settle()
    cluster.advance(1)
    cluster.add_vip("db", virtualRouterID=50, **on_nodes("b"))
    cluster.settle()
    assert cluster.condition("Ready", "db") == ("False", "VRIDConflict")
    assert (cluster.vrid("web"), cluster.vrid("db")) == (50, None)


def served_on(interface: str, cluster: FakeCluster) -> None:
    """The nodes say that "db" is on that link, and serve it."""
    for node in ("node1", "node2"):
        cluster.report("db", node, "INIT", interface=interface)
    cluster.settle()
    cluster.elect("db", interface=interface)
    cluster.settle()


def test_a_vrid_in_use_is_not_taken_away_because_nobody_knows_any_more_that_the_links_are_two():
    """The nodes that showed it no longer take part in both."""
    cluster = on_two_pairs()
    cluster.add_vip("web", virtualRouterID=51, **on_nodes("a"))
    cluster.up("web")
    cluster.advance(1)
    cluster.add_vip("db", virtualRouterID=51, **on_nodes("a"))
    cluster.settle()
    served_on("eth1", cluster)
    cluster.edit("web", **on_nodes("b"))
    cluster.step()
    for node in ("node1", "node2"):
        cluster.report("web", node, "INIT")
    cluster.settle()
    assert (cluster.vrid("web"), cluster.vrid("db")) == (51, 51)


def test_a_served_vip_that_loses_its_vrid_to_another_says_so():
    """Both were given it on two links, and now are on one."""
    cluster = cluster_with("web", virtualRouterID=51)
    cluster.elect("web")
    cluster.settle()
    cluster.add_vip("db", virtualRouterID=51)
    cluster.settle()
    served_on("eth1", cluster)
    assert cluster.vrid("db") == 51
    cluster.elect("db", interface="eth0")
    cluster.settle()
    assert cluster.vrid("db") is None
    assert cluster.condition("Degraded", "db") == ("True", "VRIDConflict")
