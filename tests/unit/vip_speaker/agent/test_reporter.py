"""What is reported, when it is written, and when nothing is."""

import os
import time

import pytest
from vip_speaker.agent import due
from vip_speaker.agent.report import entry, field_manager
from vip_speaker.agent.reporter import Reporter
from vip_speaker.agent.store import Store
from vip_speaker.router.resolution import missing_link
from vip_speaker.statedirectory import StateDirectory
from vip_speaker.statefile import Contribution, HeardRouter, Link, PriorityParts, SplitBrain, VirtualIPState
from vip_speaker.vrrp.types import SECOND

from tests.agent_fakes import FakeApi, assigned, refusal, vip
from tests.unit.vip_speaker.router.test_defence import THEIR_MAC, Scene, claim
from tests.unit.vip_speaker.router.test_resolution import FakeKernel
from tests.unit.vip_speaker.router.test_resolution import vip as document


def state(role="BACKUP", **fields):
    return VirtualIPState(
        **{
            "name": "web", "state": role, "effectivePriority": 254, "interface": "eth0",
            "primaryAddress": "192.168.137.11", "virtualRouterID": 51, "observedGeneration": 1,
            "since": "2026-01-01T00:00:00.000000Z", "reason": "started",
            "master": "192.168.137.12" if role == "BACKUP" else "",
        }
        | fields
    )  # fmt: skip


def test_an_entry_has_what_is_known():
    assert entry(state()) == {
        "state": "BACKUP", "effectivePriority": 254, "interface": "eth0", "primaryAddress": "192.168.137.11",
        "virtualRouterID": 51, "observedGeneration": 1, "since": "2026-01-01T00:00:00.000000Z", "reason": "started",
    }  # fmt: skip
    assert entry(VirtualIPState(name="web", state="INIT")) == {"state": "INIT"}


def test_the_link_is_reported_once_listened_to_and_only_in_init():
    heard = tuple(
        HeardRouter(vrid=v, version=3, family=4, source="192.168.137.9", priority=100) for v in (7, 3, 7, 0, 300)
    )
    link = Link(subnets=("192.168.137.0/24",), heard=heard)
    assert entry(state("INIT", link=link))["link"] == {"subnets": ["192.168.137.0/24"], "heard": [3, 7]}
    assert "link" not in entry(state("INIT"))
    assert "link" not in entry(state("BACKUP", link=link))


def test_reasons_that_the_operator_acts_on_begin_with_a_constant():
    assert entry(state("FAULT", interface="", reason="no link"))["reason"] == "InterfaceMissing: no link"
    assert entry(state("FAULT", reason="eth0 is down"))["reason"] == "eth0 is down"
    assert entry(state("FAULT", interface="", reason="x", problems=("spec.addresses: y",)))["reason"] == (
        "x; spec.addresses: y"
    )
    split = SplitBrain(source="192.168.137.9", since="2026-01-01T00:00:00.000000Z")
    assert entry(state("MASTER", splitBrain=split))["reason"].startswith("AnotherMaster: 192.168.137.9 ")


@pytest.mark.parametrize("interfaces", [(), ("ens9",)])
@pytest.mark.parametrize(("known", "problems"), [("", ()), ("eth0", ()), ("eth0", ("spec.colour: ignored",))])
def test_a_link_that_is_missing_is_one_reason_also_after_an_edit(interfaces, known, problems):
    """The router knows the link of the document before until it is started anew."""
    why = missing_link(document(interfaces=interfaces), FakeKernel(link=None))
    reason = entry(state("FAULT", interface=known, reason=why, problems=problems))["reason"]
    assert reason == "; ".join([f"InterfaceMissing: {why}", *problems])


def test_the_agent_s_own_trouble_stands_in_front_where_the_operator_looks_for_nothing_else():
    missing = "SecretMissing: no Secret"
    assert entry(state("INIT", reason="waiting for the password"), missing)["reason"] == missing
    assert entry(state(problems=("x",)), missing)["reason"] == f"{missing}; started; x"
    assert entry(state("FAULT", interface="", reason="no link"), missing)["reason"] == (
        f"InterfaceMissing: no link; {missing}"
    )
    split = SplitBrain(source="192.168.137.9", since="2026-01-01T00:00:00.000000Z")
    assert entry(state("MASTER", splitBrain=split), missing)["reason"].startswith("AnotherMaster: ")
    assert entry(state("MASTER", splitBrain=split), missing)["reason"].endswith(f"; {missing}")


def test_the_agent_s_own_trouble_is_reported_although_the_router_says_the_same_as_before(tmp_path):
    bench = Bench(tmp_path, assigned())
    said = {"web": ""}
    bench.reporter = Reporter(
        bench.store, bench.directory, bench.api, node="node1", trouble=lambda name: said[name],
        clock=lambda: bench.now, wall_clock=lambda: bench.now,
    )  # fmt: skip
    same = state("MASTER")
    bench.report(same)
    said["web"] = "SecretMissing: no Secret"
    (written,) = bench.report(same)
    assert written["nodes"][0]["reason"] == "SecretMissing: no Secret; started"
    assert bench.report(same) == []
    said["web"] = ""
    (written,) = bench.report(same)
    assert written["nodes"][0]["reason"] == "started"


def test_a_bug_that_one_object_brings_out_keeps_no_other_report(tmp_path, monkeypatch, caplog):
    bench = Bench(tmp_path, assigned(), assigned("other"))
    sound = due.entry

    def spoilt(said, *arguments):
        assert said.name != "web", "a bug"
        return sound(said, *arguments)

    monkeypatch.setattr(due, "entry", spoilt)
    states, applied = [state("MASTER"), state("MASTER", name="other")], []
    for _ in range(50):
        bench.report(*states)
        applied += [name for name, _ in bench.api.applied]
        bench.now += 0.02
    assert applied == ["other"]
    assert caplog.text.count("Traceback") == 1, "tried again, but not at each look"
    monkeypatch.undo()
    bench.now += due.AFTER_BUG_S
    bench.report(*states)
    assert [name for name, _ in bench.api.applied] == ["web"]


def test_a_router_that_waits_for_a_password_that_is_not_there_is_reported_at_once(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.reporter = Reporter(
        bench.store, bench.directory, bench.api, node="node1", trouble=lambda _: "SecretMissing: no Secret",
        clock=lambda: bench.now, wall_clock=lambda: bench.now,
    )  # fmt: skip
    (written,) = bench.report(state("INIT", virtualRouterID=0, reason="waiting for the password"))
    assert written["nodes"][0]["reason"] == "SecretMissing: no Secret"


def test_another_station_with_the_address_is_named_with_a_constant():
    claims = f"{THEIR_MAC} claims 192.168.137.100"
    problems = (claims, "10.0.0.9 speaks VRRP version 2 with our VRID")
    assert entry(state("MASTER", problems=problems))["reason"] == (
        f"started; DuplicateAddress: {claims}; 10.0.0.9 speaks VRRP version 2 with our VRID"
    )


def test_that_is_how_the_router_says_it():
    scene = Scene()
    scene.clock.wait(10 * SECOND)
    scene.defence.claimed(claim(THEIR_MAC))
    assert "DuplicateAddress: " in entry(state("MASTER", problems=scene.problems()))["reason"]


def test_bounds_of_the_schema_are_kept():
    report = entry(
        state(
            "INIT", reason="x" * 5000, interface="a" * 40, link=Link(subnets=tuple(f"10.{i}.0.0/16" for i in range(99)))
        )
    )
    assert len(report["reason"]) == 1024
    assert len(report["interface"]) == 15
    assert len(report["link"]["subnets"]) == 32


def test_field_managers_are_stable_short_and_distinct():
    assert field_manager("node1") == "kube-vrrp-speaker-node1"
    long = [field_manager("n" * 200 + end) for end in "ab"]
    assert all(len(m) <= 128 and m.startswith("kube-vrrp-speaker-") for m in long)
    assert long[0] != long[1]


class Bench:
    def __init__(self, tmp_path, *objects):
        self.now = 1000.0
        self.api = FakeApi(*objects)
        self.store = Store()
        self.directory = StateDirectory(tmp_path)
        self.reporter = Reporter(
            self.store, self.directory, self.api, node="node1", clock=lambda: self.now, wall_clock=lambda: self.now
        )
        self.refresh()

    def refresh(self):
        self.store.replace(self.api.list()[0])

    def report(self, *states):
        self.api.applied.clear()
        self.reporter.report({s.name: s for s in states})
        return [status for _, status in self.api.applied]


def test_a_change_is_written_once(tmp_path):
    bench = Bench(tmp_path, assigned())
    assert bench.report(state()) == [{"nodes": [{"node": "node1", **entry(state())}]}]
    assert bench.report(state()) == []
    assert len(bench.report(state("MASTER"))) == 1
    assert bench.report(state("MASTER")) == []


@pytest.mark.parametrize(("status", "levels"), [(404, ["DEBUG"]), (503, ["WARNING"]), (None, ["WARNING"])])
def test_a_status_that_is_gone_with_its_object_is_no_warning(tmp_path, caplog, status, levels):
    caplog.set_level("DEBUG", logger="vip_speaker.agent")
    bench = Bench(tmp_path, assigned())
    bench.api.refuse_apply = refusal(status)
    bench.report(state())
    assert [record.levelname for record in caplog.records] == levels


def test_a_master_names_itself_with_its_entry(tmp_path):
    bench = Bench(tmp_path, assigned())
    (written,) = bench.report(state("MASTER", effectivePriority=250))
    assert (written["master"], written["masterPriority"]) == ("node1", 250)
    (written,) = bench.report(state("MASTER", effectivePriority=240))
    assert written["masterPriority"] == 240
    (written,) = bench.report(state("BACKUP", effectivePriority=240))
    assert set(written) == {"nodes"}


def test_two_masters_do_not_overwrite_each_other_for_ever(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.report(state("MASTER"))
    bench.api.objects[0]["status"]["master"] = "node2"
    bench.refresh()
    assert bench.report(state("MASTER")) == []
    del bench.api.objects[0]["status"]["master"]
    bench.refresh()
    (written,) = bench.report(state("MASTER"))
    assert written["master"] == "node1", "nobody is named"


def test_the_priority_beside_a_master_that_the_operator_names_is_that_master_s(tmp_path):
    """In a split brain the operator may name one node where the other wrote last, and it writes no priority."""
    bench = Bench(tmp_path, assigned())
    bench.report(state("MASTER", effectivePriority=250))
    status = bench.api.objects[0]["status"]
    status["master"], status["masterPriority"] = "node2", 252
    bench.refresh()
    assert bench.report(state("MASTER", effectivePriority=250)) == []
    status["master"] = "node1"
    bench.refresh()
    (written,) = bench.report(state("MASTER", effectivePriority=250))
    assert (written["master"], written["masterPriority"]) == ("node1", 250)
    assert bench.report(state("MASTER", effectivePriority=250)) == []


def test_an_agent_that_starts_anew_writes_nothing_that_is_there(tmp_path):
    bench = Bench(tmp_path, assigned(**entry(state())))
    assert bench.report(state()) == []


def test_what_someone_else_wrote_into_the_entry_is_put_right(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.report(state())
    bench.api.objects[0]["status"]["nodes"][-1]["state"] = "MASTER"
    bench.api.objects[0]["metadata"]["resourceVersion"] = "99"
    bench.refresh()
    assert len(bench.report(state())) == 1


def test_what_the_operator_writes_is_no_difference(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.report(state())
    for own in bench.api.objects[0]["status"]["nodes"]:
        own["reporting"] = "Unknown"
        own["facts"] = [{"name": "cordon", "value": True}]
    bench.refresh()
    assert bench.report(state()) == []


def test_without_assignment_the_entry_is_cleared_and_nothing_else(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.report(state())
    own = next(e for e in bench.api.objects[0]["status"]["nodes"] if e["node"] == "node1")
    del own["priority"], own["reporting"]
    bench.refresh()
    assert bench.report(state("MASTER")) == [{}]
    assert bench.report(state("MASTER")) == []
    assert [e["node"] for e in bench.api.objects[0]["status"]["nodes"]] == ["node2"]


def test_a_vip_that_is_not_in_the_store_is_not_written(tmp_path):
    bench = Bench(tmp_path)
    assert bench.report(state()) == []


def test_a_router_that_says_nothing_is_reported_after_a_while(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.report(state("MASTER"))
    assert bench.report() == []
    bench.now += 1.9
    assert bench.report() == []
    bench.now += 0.2
    (status,) = bench.report()
    assert status["nodes"][0]["state"] == "INIT"
    assert status["nodes"][0]["reason"].startswith("NoRouter")
    bench.now += 100
    assert bench.report() == []
    assert len(bench.report(state())) == 1


@pytest.mark.parametrize(
    ("trap", "said"),
    [
        (os.mkfifo, "is not a regular file"),
        (os.mkdir, "is not a regular file"),
        (lambda path: path.symlink_to("/etc/passwd"), "is a symbolic link"),
        (lambda path: path.touch() or os.truncate(path, 1 << 30), "has more than"),
    ],
    ids=["FIFO", "directory", "symlink", "sparse"],
)
def test_a_trap_in_place_of_a_document_is_told_to_the_api(tmp_path, trap, said):
    bench = Bench(tmp_path, assigned())
    trap(tmp_path / f"{state().name}.vip.json")
    began = time.monotonic()
    assert bench.reporter._look() == {}
    assert time.monotonic() - began < 5
    assert bench.report() == []
    bench.now += 2.1
    (status,) = bench.report()
    assert said in status["nodes"][0]["reason"]


def test_the_router_is_heard_among_however_many_files(tmp_path):
    for number in range(10_000):
        (tmp_path / f"junk{number}").touch()
    bench = Bench(tmp_path, assigned())
    bench.directory.write(state("MASTER"))
    assert bench.reporter._look() == {state().name: state("MASTER")}


def test_at_the_end_of_the_pod_silence_is_reported_at_once(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.report(state("MASTER"))
    bench.reporter.finish(within_s=5)
    assert not bench.reporter._is_done()
    (status,) = bench.report()
    assert status["nodes"][0]["reason"].startswith("Stopped")
    assert bench.reporter._is_done()


def test_the_end_of_the_pod_waits_only_so_long(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.report(state("MASTER"))
    bench.directory.write(state("MASTER"))
    bench.reporter.finish(within_s=5)
    bench.now += 5
    assert bench.reporter._is_done()


@pytest.mark.parametrize("status", [403, 409, 422, 500, None])
def test_a_refused_write_is_tried_again_later_with_the_latest(tmp_path, status):
    bench = Bench(tmp_path, assigned("web"), assigned("other"))
    bench.api.refuse_apply = refusal(status)
    other = state(name="other")
    bench.report(state(), other)
    bench.api.refuse_apply = None
    assert bench.report(state(), other) == []
    bench.now += 0.3
    written = bench.report(state("MASTER"), other)
    assert sorted(s["nodes"][0]["state"] for s in written) == ["BACKUP", "MASTER"]


def test_delays_grow_to_a_bound(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.api.refuse_apply = refusal(503)
    attempts = 0
    for _ in range(1000):
        before = bench.reporter._failures.get("web")
        bench.report(state())
        attempts += (
            bench.reporter._failures["web"] is not before or bench.reporter._failures["web"].retry_at > bench.now
        )
        bench.now += 0.1
    assert bench.reporter._failures["web"].retry_at - bench.now <= 5
    assert bench.reporter._failures["web"].count < 60


def checked(reason, change=-10, **fields):
    parts = (
        Contribution(name="ok", value=5, reason="fine"),
        Contribution(name="x", value=0, reason=reason, change=change),
    )
    return state(priorityParts=PriorityParts(base=254, contributions=parts), **fields)


def test_what_a_check_changes_is_told_with_its_name_and_reason():
    assert entry(checked("httpd not running"))["reason"] == "started; x: httpd not running: -10"
    assert entry(checked(""))["reason"] == "started; x: -10"
    cordoned = (Contribution(name="onCordon", value=-253, reason="the node is cordoned", change=-253),)
    parts = PriorityParts(base=254, contributions=cordoned)
    assert entry(state(priorityParts=parts))["reason"] == "started; the node is cordoned: -253"
    assert entry(checked("httpd is running", change=0))["reason"] == "started"


def test_words_that_differ_with_each_run_are_written_once_a_minute(tmp_path):
    bench = Bench(tmp_path, assigned())
    assert len(bench.report(checked("load 1"))) == 1
    for number in range(59):
        bench.now += 1
        assert bench.report(checked(f"load {number}.5")) == []
    bench.now += 2
    assert len(bench.report(checked("load 9"))) == 1


def test_everything_else_is_written_at_once(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.report(checked("load 1"))
    assert len(bench.report(checked("load 2", effectivePriority=244))) == 1
    split = SplitBrain(source="192.168.137.9", since="2026-01-01T00:00:00.000000Z")
    assert len(bench.report(checked("load 2", effectivePriority=244, splitBrain=split))) == 1
    assert len(bench.report(checked("load 2", effectivePriority=244))) == 1


def test_what_was_compared_is_not_compared_again(tmp_path, monkeypatch):
    bench = Bench(tmp_path, assigned("a"), assigned("b"), vip("elsewhere"))
    states = {name: state(name=name) for name in ("a", "b")}
    bench.reporter.report(states)
    bench.reporter.report(states)
    compared = []
    own = bench.reporter._due._compare
    monkeypatch.setattr(bench.reporter._due, "_compare", lambda memory, *of: compared.append(of[1]) or own(memory, *of))
    bench.reporter.report(states)
    assert compared == []
    changed = {**states, "a": state("MASTER", name="a")}
    bench.reporter.report(changed)
    assert compared == [changed["a"]]


def test_a_silence_that_begins_is_noticed_although_nothing_changed_since(tmp_path):
    bench = Bench(tmp_path, assigned())
    states = {"web": state()}
    bench.reporter.report(states)
    bench.reporter.report(states)
    assert bench.report() == []
    bench.now += 3
    assert len(bench.report()) == 1


def test_virtual_router_ids_of_the_cluster_s_own_are_no_news_and_those_of_others_are(tmp_path):
    bench = Bench(tmp_path, assigned(vrid=None), assigned("other", vrid=7))

    def waiting(*vrids):
        heard = tuple(HeardRouter(vrid=v, version=3, family=4, source="192.168.137.9", priority=100) for v in vrids)
        return state("INIT", virtualRouterID=0, link=Link(subnets=("192.168.137.0/24",), heard=heard))

    bench.report(waiting(), state(name="other"))
    assert bench.report(waiting(7), state(name="other")) == []
    (status,) = bench.report(waiting(7, 8), state(name="other"))
    assert status["nodes"][0]["link"]["heard"] == [7, 8]
    assert bench.report(waiting(8), state(name="other")) == []
    assert len(bench.report(waiting(), state(name="other"))) == 1


def test_many_changes_are_written_in_batches_with_the_masters_first(tmp_path):
    names = [f"vip{number:02}" for number in range(40)]
    bench = Bench(tmp_path, *(assigned(name) for name in names))
    states = [state("MASTER" if name > "vip35" else "BACKUP", name=name) for name in names]
    batches = []
    while written := bench.report(*states):
        batches.append([status["nodes"][0]["state"] for status in written])
    assert batches[0].count("MASTER") == 4
    assert [len(batch) for batch in batches] == [16, 16, 8]


def test_the_first_report_of_one_that_waits_for_its_virtual_router_id_is_what_it_heard(tmp_path):
    bench = Bench(tmp_path, assigned(vrid=None))
    listening = state("INIT", virtualRouterID=0)
    assert bench.report(listening) == []
    bench.now += 3
    assert bench.report(listening) == []
    (status,) = bench.report(state("INIT", virtualRouterID=0, link=Link(subnets=("192.168.137.0/24",))))
    assert status["nodes"][0]["link"] == {"subnets": ["192.168.137.0/24"], "heard": []}


def waiting(name="web", *, interface="eth0", heard=(), **fields):
    routers = tuple(HeardRouter(vrid=v, version=3, family=4, source="192.168.137.9", priority=100) for v in heard)
    link = Link(subnets=("192.168.137.0/24",), heard=routers)
    return state("INIT", name=name, virtualRouterID=0, interface=interface, link=link, **fields)


def also_for(written):
    return [status["nodes"][0]["link"].get("alsoFor", []) for status in written]


def test_whom_many_heard_that_wait_is_written_once(tmp_path):
    names = [f"vip{number:02}" for number in range(40)]
    bench = Bench(tmp_path, *(assigned(name, vrid=None) for name in names))
    written = bench.report(*(waiting(name) for name in names))
    assert also_for(written) == [[f"uid-{name}" for name in names[:-1]]]
    assert [name for name, _ in bench.api.applied] == ["vip39"]
    assert bench.report(*(waiting(name) for name in names)) == []
    assert bench.report(*(waiting(name) for name in names[:-1]), waiting("vip39", heard=[9])) != [], "a stranger"
    assert also_for([s for _, s in bench.api.applied]) == [[f"uid-{name}" for name in names[:-1]]]


def test_the_youngest_speaks_for_others_because_it_is_the_last_to_get_its_virtual_router_id(tmp_path):
    """What it heard is gone from the API once it takes part, and the others would have to wait for another report."""
    younger, older = assigned("a", vrid=None), assigned("b", vrid=None)
    younger["metadata"]["creationTimestamp"] = "2026-01-01T00:00:02Z"
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:01Z"
    bench = Bench(tmp_path, younger, older)
    assert also_for(bench.report(waiting("a"), waiting("b"))) == [["uid-b"]]
    assert [name for name, _ in bench.api.applied] == ["a"]
    older["status"]["virtualRouterID"] = 7
    older["metadata"]["resourceVersion"] = "99"
    bench.refresh()
    bench.now += 10
    assert [s["nodes"][0]["state"] for s in bench.report(waiting("a"), state("MASTER", name="b"))] == ["MASTER"]


def test_what_a_link_hears_is_written_before_who_is_master(tmp_path):
    names = [f"vip{number:02}" for number in range(20)]
    bench = Bench(tmp_path, *(assigned(name) for name in names), assigned("web", vrid=None))
    written = bench.report(*(state("MASTER", name=name) for name in names), waiting())
    assert [name for name, _ in bench.api.applied].index("web") < 4
    assert "link" in next(s for s in written if s["nodes"][0]["state"] == "INIT")["nodes"][0]


def test_what_one_became_first_waits_for_those_that_have_no_virtual_router_id_but_not_for_long(tmp_path):
    """With hundreds of new ones the API server would be busy with those that are served, not with those to come."""
    bench = Bench(tmp_path, assigned("a"), assigned("b"), assigned("c", vrid=None), assigned("d", vrid=None))
    states = state("MASTER", name="a"), state("BACKUP", name="b"), waiting("c"), waiting("d")
    bench.report(waiting("c"), waiting("d"))
    assert bench.report(*states) == []
    bench.now += due.OTHERS_FIRST_S - 0.1
    assert bench.report(*states) == []
    bench.now += 0.2
    assert [one["nodes"][0]["state"] for one in bench.report(*states)] == ["MASTER", "BACKUP"]


def test_nobody_waits_for_those_that_get_no_virtual_router_id(tmp_path):
    bench = Bench(tmp_path, assigned("a"), assigned("c", vrid=None), assigned("d", vrid=None))
    bench.report(waiting("c"), waiting("d"))
    bench.now += due.WAITING_S
    assert len(bench.report(state("BACKUP", name="a"), waiting("c"), waiting("d"))) == 1


def test_once_nobody_waits_for_a_virtual_router_id_all_say_what_they_became(tmp_path):
    bench = Bench(tmp_path, assigned("a"), assigned("b", vrid=None), assigned("c", vrid=None))
    bench.report(waiting("b"), waiting("c"))
    assert bench.report(state("BACKUP", name="a"), waiting("b"), waiting("c")) == []
    for body in bench.api.objects[1:]:
        body["status"]["virtualRouterID"] = 7
        body["metadata"]["resourceVersion"] = "99"
    bench.refresh()
    states = state("BACKUP", name="a"), waiting("b"), waiting("c")
    assert bench.report(*states) == [], "they were waiting when it was asked last"
    bench.now += due.LOOK_AGAIN_S
    assert [one["nodes"][0]["state"] for one in bench.report(*states)] == ["BACKUP"]


def test_what_changes_later_or_runs_already_waits_for_nobody(tmp_path):
    known, unknown, explicit = assigned("a", state="MASTER"), assigned("b", vrid=None), assigned("e")
    explicit["spec"]["virtualRouterID"] = 51
    bench = Bench(tmp_path, known, unknown, explicit, assigned("f"), assigned("c", vrid=None), assigned("d", vrid=None))
    wait = waiting("c"), waiting("d")
    bench.report(state("MASTER", name="a"), *wait)
    runs = state("BACKUP", name="b", virtualRouterID=9)
    strange = state("BACKUP", name="f", problems=("x claims y",))
    bench.report(state("BACKUP", name="a"), runs, state("BACKUP", name="e"), strange, *wait)
    assert sorted(name for name, _ in bench.api.applied) == ["a", "b", "e", "f"]


def test_those_that_come_later_or_are_on_another_link_are_not_spoken_for(tmp_path):
    bench = Bench(tmp_path, assigned("a", vrid=None), assigned("b", vrid=None), assigned("c", vrid=None))
    assert also_for(bench.report(waiting("a"), waiting("b"), waiting("c", interface="eth1"))) == [["uid-a"], []]
    bench.api.objects += [assigned("d", vrid=None), assigned("e", vrid=None)]
    bench.refresh()
    states = [waiting("a"), waiting("b"), waiting("c", interface="eth1"), waiting("d"), waiting("e")]
    assert bench.report(*states) == [], "there may be more in a moment"
    bench.now += 0.5
    assert also_for(bench.report(*states)) == [["uid-d"]]
    assert [name for name, _ in bench.api.applied] == ["e"]


def test_when_the_one_that_spoke_for_others_goes_on_another_does(tmp_path):
    bench = Bench(tmp_path, assigned("a", vrid=None), assigned("b", vrid=None), assigned("c", vrid=None))
    bench.report(*(waiting(name) for name in "abc"))
    bench.report(waiting("a"), waiting("b"), state("MASTER", name="c"))
    bench.now += 0.5
    bench.report(waiting("a"), waiting("b"), state("MASTER", name="c"))
    assert [(name, also_for([status])) for name, status in bench.api.applied] == [("b", [["uid-a"]])]


def test_one_that_runs_or_had_been_reported_is_not_spoken_for(tmp_path):
    """The operator adopts what runs, and must not take it for one that listens."""
    bench = Bench(tmp_path, assigned("a", vrid=None), assigned("b", vrid=None), assigned("c", vrid=None, state="INIT"))
    written = bench.report(waiting("a"), state("BACKUP", name="b", virtualRouterID=7), waiting("c"))
    by_name = dict(bench.api.applied)
    assert len(written) == 3
    assert "alsoFor" not in by_name["a"]["nodes"][0]["link"]
    assert by_name["b"]["nodes"][0]["virtualRouterID"] == 7


def test_one_that_was_just_given_its_virtual_router_id_has_nothing_to_say_of_its_waiting(tmp_path):
    bench = Bench(tmp_path, assigned("a", vrid=None), assigned("b", vrid=None))
    bench.report(waiting("a"), waiting("b"))
    for body, vrid in zip(bench.api.objects, (7, 8), strict=True):
        body["status"]["virtualRouterID"] = vrid
        body["metadata"]["resourceVersion"] = "99"
    bench.refresh()
    assert bench.report(waiting("a"), waiting("b")) == []


def test_however_long_it_waited_a_router_has_a_while_to_take_its_virtual_router_id(tmp_path):
    bench = Bench(tmp_path, assigned("a", vrid=None), assigned("b", vrid=None))
    bench.report(waiting("a"), waiting("b"))
    assert bench.report(state("INIT", name="a", virtualRouterID=0), waiting("b")) == []
    bench.now += 7
    bench.api.objects[0]["status"]["virtualRouterID"] = 7
    bench.api.objects[0]["metadata"]["resourceVersion"] = "99"
    bench.refresh()
    assert bench.report(waiting("a"), waiting("b")) == []
    bench.now += 7
    assert bench.report(waiting("a"), waiting("b")) == []
    bench.now += 2
    assert bench.report(waiting("a"), waiting("b")) != [], "it may be broken"


def test_an_api_server_that_does_not_know_the_names_is_told_of_each(tmp_path):
    """An older definition drops them; every VirtualIP gets its virtual router ID all the same."""
    bench = Bench(tmp_path, *(assigned(name, vrid=None) for name in "abc"))
    api_apply = bench.api.apply_status

    def apply_status(name, **options):
        api_apply(name, **options)
        for body in bench.api.objects:
            for own in body["status"]["nodes"]:
                own.get("link", {}).pop("alsoFor", None)
        return next(b for b in bench.api.list()[0] if b["metadata"]["name"] == name)

    bench.api.apply_status = apply_status
    told = set()
    for _ in range(100):
        bench.report(*(waiting(name) for name in "abc"))
        told |= {name for name, _ in bench.api.applied}
        bench.now += 0.02
    assert told == set("abc")


def test_what_a_router_begins_as_is_not_written_only_what_becomes_of_it(tmp_path):
    for outcome in (state("MASTER"), state("BACKUP", master="192.168.137.12")):
        bench = Bench(tmp_path, assigned())
        assert bench.report(state("BACKUP", master="")) == []
        bench.now += 3
        assert bench.report(state("BACKUP", master="")) == []
        (written,) = bench.report(outcome)
        assert written["nodes"][0]["state"] == outcome.state


def test_one_that_finds_no_master_is_reported_all_the_same(tmp_path):
    bench = Bench(tmp_path, assigned())
    beginning = state("BACKUP", master="")
    assert bench.report(beginning) == []
    bench.now += 4
    bench.api.refuse_apply = refusal(503)
    assert len(bench.report(beginning)) == 0
    bench.api.refuse_apply = None
    bench.now += 0.2
    assert len(bench.report(beginning)) == 1, "a refused write does not begin the wait anew"
    assert bench.report(beginning) == []


def test_a_master_that_steps_back_is_reported_at_once(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.report(state("MASTER"))
    assert len(bench.report(state("BACKUP", master=""))) == 1


def test_unicast_peers_are_told_the_address_at_once(tmp_path):
    """Who is not known to the others hears no master, and would become one."""
    body = assigned()
    body["spec"]["transport"] = "Unicast"
    bench = Bench(tmp_path, body)
    assert len(bench.report(state("BACKUP", master=""))) == 1


def test_one_that_waits_for_something_is_not_compared_again_and_again(tmp_path, monkeypatch):
    bench = Bench(tmp_path, assigned())
    states = {"web": state("BACKUP", master="")}
    bench.reporter.report(states)
    compared = []
    own = bench.reporter._due._compare
    monkeypatch.setattr(bench.reporter._due, "_compare", lambda memory, *of: compared.append(of[1]) or own(memory, *of))
    bench.reporter.report(states)
    assert compared == []
    bench.now += 4
    bench.reporter.report(states)
    assert len(bench.api.applied) == 1


def test_one_that_never_heard_anything_is_reported_all_the_same(tmp_path):
    bench = Bench(tmp_path, assigned(vrid=None))
    listening = state("INIT", virtualRouterID=0)
    assert bench.report(listening) == []
    bench.now += 8
    assert len(bench.report(listening)) == 1
    assert bench.report(listening) == []
    fault = state("FAULT", virtualRouterID=0, reason="eth0 is down")
    assert len(Bench(tmp_path, assigned(vrid=None)).report(fault)) == 1


def test_who_is_heard_counts_again_once_the_cluster_lets_go_of_that_virtual_router_id(tmp_path):
    """The VIP that had it is gone, and somebody else still uses it: the operator must not give it away."""
    link = Link(
        subnets=("192.168.137.0/24",),
        heard=(HeardRouter(vrid=7, version=3, family=4, source="192.168.137.9", priority=100),),
    )
    quiet = state("INIT", virtualRouterID=0, link=Link(subnets=link.subnets))
    bench = Bench(tmp_path, assigned(vrid=None), assigned("other", vrid=7))
    other = state(name="other")
    bench.report(quiet, other)
    heard = state("INIT", virtualRouterID=0, link=link)
    assert bench.report(heard, other) == []
    assert bench.report(heard, other) == []
    bench.store.remove(bench.store.all()["other"])
    (written,) = bench.report(heard)
    assert written["nodes"][0]["link"]["heard"] == [7]


def test_a_vip_that_comes_back_to_the_node_is_not_called_silent_at_once(tmp_path):
    bench = Bench(tmp_path, assigned())
    assert bench.report() == []
    own = bench.api.objects[0]["status"]["nodes"][0]
    priority = own.pop("priority")
    bench.refresh()
    assert bench.report() == []
    bench.now += 100
    own["priority"] = priority
    bench.refresh()
    assert bench.report() == [], "the router had no time to say anything yet"


def test_a_field_that_the_api_server_drops_is_not_written_for_ever(tmp_path):
    """A CRD that is older than the speaker: what is written does not come back."""
    bench = Bench(tmp_path, assigned())
    api_apply = bench.api.apply_status

    def apply_status(name, **options):
        api_apply(name, **options)
        bench.api.objects[0]["status"].pop("masterPriority", None)
        return bench.api.list()[0][0]

    bench.api.apply_status = apply_status
    writes = 0
    for _ in range(100):
        writes += len(bench.report(state("MASTER")))
        bench.now += 0.02
    assert 1 <= writes <= 6
