"""Trackers on a virtual clock: what they make of what they are told, and how they are paced."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import count
from pathlib import Path

import pytest
from vip_api.model import CORDON_FACT, Assignment, OnCordon, Peer, Track, VirtualAddress, VirtualIP, VirtualIPSpec
from vip_api.model import Fact as AssignedFact
from vip_speaker.health.files import Files, HostFiles
from vip_speaker.health.monitor import KINDS, Health
from vip_speaker.health.remote import PATIENCE_NS
from vip_speaker.health.runner import Outcome
from vip_speaker.health.tracker import Surroundings
from vip_speaker.router.timers import Deadline

MS = 1_000_000
BEGINS_AS_FAILED = "chk: counts as failed until it is good (initFail)"


class FakeProcesses:
    def __init__(self):
        self.watching = []

    def watch(self, pattern, callback):
        self.watching.append((pattern, callback))

    def unwatch(self, pattern, callback):
        self.watching.remove((pattern, callback))

    def say(self, number):
        for _, callback in list(self.watching):
            callback(number)


class FakeRunner:
    def __init__(self):
        self.problem = ""
        self.asked = []
        self.waiting = {}
        self._numbers = count(1)

    def run(self, request, callback):
        number = next(self._numbers)
        self.asked.append(request)
        self.waiting[number] = callback
        return number

    def forget(self, number):
        self.waiting.pop(number, None)

    def answer(self, good, reason="r"):
        for number in list(self.waiting):
            self.waiting.pop(number)(Outcome(good=good, reason=reason))


class World:
    def __init__(self, loop, kernel, aside):
        self.loop, self.kernel = loop, kernel
        self.processes, self.runner, self.files = FakeProcesses(), FakeRunner(), Files(loop, aside)
        around = Surroundings(
            loop=loop,
            kernel=kernel,
            files=self.files,
            processes=self.processes,
            runner=self.runner,
            role=lambda _name: "MASTER",
        )
        self.moved = []
        self.health = Health(around, self.moved.append)

    def follow(self, vip):
        self.vip = vip
        self.health.follow(vip)
        return self.assess()

    def assess(self):
        return self.health.assess(self.vip)

    @property
    def value(self):
        return self.assess().contribution


@pytest.fixture
def world(loop, kernel, aside, monkeypatch):
    monkeypatch.setattr("os.getppid", lambda: 2)  # whoever started these tests may be process 1
    world = World(loop, kernel, aside)
    yield world
    world.health.close()
    assert not world.processes.watching
    assert not loop.readers
    assert loop.others.next_at_ns() is None, "nothing is left to do"


def vip(*tracks, facts=(), on_cordon=OnCordon.KEEP, assigned=False):
    return VirtualIP(
        name="web",
        spec=VirtualIPSpec(
            addresses=(VirtualAddress(ip=ip_address("192.0.2.1")),),
            track=tracks,
            virtual_router_id=51,
            on_cordon=on_cordon,
        ),
        assignment=Assignment(priority=200, virtual_router_id=52, facts=tuple(facts)) if facts or assigned else None,
    )


def track(kind, weight=10, **check):
    return Track(name="chk", kind=kind, check=tuple(check.items()), weight=weight)


def script(weight=10, **check):
    defaults = {"name": "s", "args": (), "interval": "1s", "rise": 1, "fall": 1, "initFail": False}
    return track("script", weight, **(defaults | check))


def test_every_kind_of_the_schema_has_a_tracker():
    from vip_api.track import KINDS as SCHEMA

    assert KINDS.keys() == SCHEMA.keys()


# --- interface


def test_an_interface_is_good_while_up_and_running(world, kernel):
    from tests.unit.vip_speaker.health.conftest import FakeLink

    assert world.follow(vip(track("interface", 0, name="ens9"))).fault == "chk: there is no ens9"
    for link, fault in (
        (FakeLink("ens9"), None),
        (FakeLink("ens9", up=False), "chk: ens9 is down"),
        (FakeLink("ens9", running=False), "chk: ens9 has no carrier"),
    ):
        kernel.named["ens9"] = link
        world.assess()
        world.loop.pass_ms(1500)
        assert world.assess().fault == fault


# --- process


def test_a_process_has_to_reach_its_quorum(world):
    assert world.follow(vip(track("process", name="httpd", quorum=2))).parts[0].reason == "not looked at yet"
    for number, value, reason in ((2, 10, "httpd is running"), (1, 0, "httpd running 1 times, not 2")):
        world.processes.say(number)
        assert (world.value, world.assess().parts[0].reason) == (value, reason)
        world.loop.pass_ms(1000)
    world.processes.say(0)
    assert world.assess().parts[0].reason == "httpd not running"


def test_where_the_guard_is_process_1_it_is_said_which_processes_are_seen(world, monkeypatch):
    monkeypatch.setattr("os.getppid", lambda: 1)
    world.follow(vip(track("process", name="httpd", quorum=1)))
    world.processes.say(0)
    assert (
        world.assess()
        .parts[0]
        .reason.endswith("not running (only this container's processes are seen: set the chart's speaker.hostPID)")
    )


def test_a_process_that_flaps_moves_the_priority_once_a_second(world):
    world.follow(vip(track("process", name="httpd", quorum=1)))
    world.processes.say(1)
    changes, before = 0, world.value
    for turn in range(50):  # ten times a second for five seconds
        world.processes.say(turn % 2)
        world.loop.pass_ms(100)
        changes += world.value != before
        before = world.value
    assert 1 <= changes <= 6


def test_a_process_of_weight_zero_that_dies_is_a_fault_at_once_whatever_was_before(world):
    world.follow(vip(track("process", 0, name="httpd", quorum=1)))
    world.processes.say(1)
    world.processes.say(0)
    assert world.assess().fault == "chk: httpd not running"
    world.processes.say(1)
    assert world.assess().fault, "good again is believed later"
    world.loop.pass_ms(1000)
    assert world.assess().fault is None
    world.processes.say(0)
    assert world.assess().fault, "bad is not"


# --- file


def test_a_file_follows_what_is_written_and_is_believed_empty_at_the_second_look(world, tmp_path):
    path = tmp_path / "value"
    path.write_text("10")
    world.follow(vip(track("file", 1, path=str(path), exists=False)))
    world.loop.pass_ms(0)
    assert world.value == 10
    path.write_text("")
    world.loop.pass_ms(1010)  # no event: its turn every second
    assert world.value == 10
    world.loop.pass_ms(20)
    assert world.value == 0
    path.write_text("5000")
    world.loop.pass_ms(2000)
    assert world.value == 253
    path.unlink()
    world.loop.pass_ms(2000)
    assert world.value == 0


def test_a_file_that_is_not_mounted_is_bad_and_not_zero(world):
    world.files.host = HostFiles(root=Path("/nonexistent"), directories=(Path("/run/web"),))
    answer = world.follow(vip(track("file", 0, path="/etc/weight", exists=False)))
    assert answer.fault == "chk: /etc/weight cannot be seen: it is in none of the chart's speaker.hostFiles"
    assert world.follow(vip()).fault is None


def test_a_mounted_file_is_called_by_the_hosts_name_for_it(world, tmp_path):
    world.files.host = HostFiles(root=tmp_path, directories=(Path("/run"),))
    (tmp_path / "run").mkdir()
    world.follow(vip(track("file", 1, path="/run/value", exists=False)))
    world.loop.pass_ms(0)
    assert world.assess().parts[0].reason == "/run/value does not exist"
    (tmp_path / "run" / "value").write_text("7")
    world.loop.pass_ms(2000)
    assert (world.assess().contribution, world.assess().parts[0].reason) == (7, "/run/value holds 7")


def test_a_mounted_file_behind_a_link_that_leads_out_is_bad(world, tmp_path):
    (tmp_path / "host" / "run").mkdir(parents=True)
    (tmp_path / "value").write_text("7")
    (tmp_path / "host" / "run" / "away").symlink_to(tmp_path)
    world.files.host = HostFiles(root=tmp_path / "host", directories=(Path("/run"),))
    world.follow(vip(track("file", 0, path="/run/away/value", exists=True)))
    world.loop.pass_ms(0)
    assert world.assess().fault == (
        "chk: /run/away/value lies behind a link that leads out of the chart's speaker.hostFiles"
    )


@pytest.mark.parametrize("exists", [True, False])
def test_a_file_behind_links_in_a_circle_is_bad_until_they_are_put_right(world, tmp_path, exists):
    (tmp_path / "run").mkdir()
    circle = tmp_path / "run" / "circle"
    circle.symlink_to("circle")
    world.files.host = HostFiles(root=tmp_path, directories=(Path("/run"),))
    world.follow(vip(track("file", 0, path="/run/circle/value", exists=exists)))
    world.loop.pass_ms(10)
    assert world.assess().fault.startswith("chk: /run/circle/value ")
    circle.unlink()
    circle.mkdir()
    (circle / "value").write_text("0")
    world.loop.pass_ms(1500)
    assert world.assess().fault is None


def test_a_look_that_goes_wrong_is_a_bad_check_with_the_reason(world, tmp_path, monkeypatch):
    world.follow(vip(track("file", 0, path=str(tmp_path / "value"), exists=False)))
    world.loop.pass_ms(10)
    assert world.assess().fault is None

    def wrong(_path):
        raise RuntimeError("nobody thought of this")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "lstat", wrong)
        world.loop.pass_ms(1000)
        assert world.assess().fault == (
            f"chk: {tmp_path}/value cannot be looked at: RuntimeError: nobody thought of this"
        )
    world.loop.pass_ms(2000)
    assert world.assess().fault is None


def test_inotify_tells_of_a_file_at_once(world, tmp_path):
    path = tmp_path / "flag"
    world.follow(vip(track("file", 10, path=str(path), exists=True)))
    world.loop.pass_ms(0)
    assert world.value == 0
    world.moved.clear()
    path.touch()
    (event,) = world.loop.readers.values()
    event()
    world.loop.pass_ms(0)
    assert world.value == 10
    assert world.moved == ["web"]


def test_a_zero_that_is_written_counts_at_once(world, tmp_path):
    """Unlike nothing at all, it was meant."""
    path = tmp_path / "value"
    path.write_text("10\n")
    world.follow(vip(track("file", 1, path=str(path), exists=False)))
    world.loop.pass_ms(1500)
    path.write_text("0\n")
    (event,) = world.loop.readers.values()
    event()
    world.loop.pass_ms(0)
    assert world.value == 0


def test_a_directory_may_come_later_and_go(world, tmp_path):
    path = tmp_path / "later" / "flag"
    world.follow(vip(track("file", 10, path=str(path), exists=True)))
    world.loop.pass_ms(0)
    path.parent.mkdir()
    path.touch()
    world.loop.pass_ms(250)
    assert world.value == 10
    path.unlink()
    path.parent.rmdir()
    (event,) = world.loop.readers.values()
    event()
    world.loop.pass_ms(1300)
    assert world.value == 0


def test_something_that_happens_during_a_look_is_looked_at_too(world, aside, tmp_path):
    path = tmp_path / "flag"
    world.follow(vip(track("file", 10, path=str(path), exists=True)))
    world.loop.pass_ms(1500)
    (event,) = world.loop.readers.values()
    aside.slow = True
    (tmp_path / "other").touch()
    event()  # a look is under way, and has seen no flag
    path.touch()
    event()
    aside.recover()
    world.loop.pass_ms(1)
    assert world.value == 10


@pytest.mark.parametrize(("weight", "exists"), [(10, True), (0, False)])
def test_a_file_system_that_hangs_is_bad_and_comes_back(world, aside, tmp_path, weight, exists):
    path = tmp_path / "value"
    path.write_text("0")
    world.follow(vip(track("file", weight, path=str(path), exists=exists)))
    world.loop.pass_ms(0)
    well = world.value
    assert world.assess().fault is None
    aside.hangs = True
    world.loop.pass_ms(2900)
    assert world.value == well, "patience"
    world.loop.pass_ms(200)
    assert "does not answer: its file system hangs" in world.assess().parts[0].reason
    assert (world.value, bool(world.assess().fault)) == (0, weight == 0)
    world.loop.pass_ms(60_000)
    assert len(aside._hung) == 1, "not asked again while it hangs"
    aside.recover()
    world.loop.pass_ms(1000)
    assert (world.value, world.assess().fault) == (well, None)


def test_a_check_that_comes_while_its_file_system_hangs_is_told_so(world, aside, tmp_path):
    world.follow(vip(track("file", 10, path=str(tmp_path / "flag"), exists=True)))
    world.loop.pass_ms(0)
    aside.hangs = True
    world.loop.pass_ms(5000)
    other = replace(track("file", 0, path=str(tmp_path / "other"), exists=True), name="other")
    world.follow(vip(track("file", 10, path=str(tmp_path / "flag"), exists=True), other))
    assert world.assess().waiting == "other: not looked at yet"
    world.loop.pass_ms(2100)
    assert world.assess().fault == f"other: {tmp_path}/other does not answer: its file system hangs"
    aside.recover()
    world.loop.pass_ms(1000)
    assert world.assess().fault == f"other: {tmp_path}/other does not exist"


def test_an_edit_of_the_only_check_in_a_directory_that_hangs_asks_it_no_further_time(world, aside, tmp_path):
    (tmp_path / "flag").touch()
    aside.hangs = True
    for weight, exists in ((10, True), (10, False), (11, True), (11, False), (0, True)):
        world.follow(vip(track("file", weight, path=str(tmp_path / "flag"), exists=exists)))
        world.loop.pass_ms(3000)
    assert len(aside._hung) == 1
    assert "its file system hangs" in world.assess().fault
    world.follow(vip())
    world.loop.pass_ms(3000)
    world.follow(vip(track("file", 0, path=str(tmp_path / "flag"), exists=True)))
    world.loop.pass_ms(2100)
    assert len(aside._hung) == 1
    aside.recover()
    world.loop.pass_ms(1000)
    assert world.assess().fault is None


def test_a_watch_may_end_while_its_file_system_hangs(world, aside, tmp_path):
    world.follow(vip(track("file", 10, path=str(tmp_path / "flag"), exists=True)))
    world.loop.pass_ms(0)
    aside.hangs = True
    world.loop.pass_ms(1500)
    world.follow(vip())
    assert not world.loop.readers
    aside.recover()
    world.loop.pass_ms(0)


def test_a_watch_may_end_at_the_very_moment_of_a_look(world, tmp_path):
    world.follow(vip(track("file", 10, path=str(tmp_path / "flag"), exists=True)))
    world.loop.pass_ms(0)
    due_ns = world.loop.others.next_at_ns()
    world.loop.others.set(Deadline(lambda _now_ns: world.follow(vip())), due_ns - 1000)
    world.loop.stall_until(due_ns)
    world.loop.pass_ms(5000)


# --- script, tcp, http


def test_a_script_runs_every_interval_and_counts_by_rise_and_fall(world):
    world.follow(vip(script(fall=3, rise=2)))
    assert world.assess().parts[0].reason == "has not run yet"
    for result, value in zip("ggbbgbbbgg", (10, 10, 10, 10, 10, 10, 10, 0, 0, 10), strict=True):
        world.loop.pass_ms(1)
        world.runner.answer(result == "g")
        assert world.value == value
        world.loop.pass_ms(998)
    assert len(world.runner.asked) == 10
    assert world.runner.asked[0].environment == {"VIP": "web", "VRID": "51", "STATE": "MASTER"}
    assert world.runner.asked[0].timeout_ms == 1000


def test_a_run_that_takes_long_is_not_started_twice(world):
    world.follow(vip(script(interval="1s")))
    world.loop.pass_ms(2500)
    assert len(world.runner.asked) == 1
    world.runner.answer(True)
    world.loop.pass_ms(0)
    assert len(world.runner.asked) == 2


def test_a_check_that_goes_at_the_very_moment_of_its_next_run_runs_no_more(world):
    world.follow(vip(script()))
    world.loop.pass_ms(1)
    world.runner.answer(True)
    due_ns = world.loop.others.next_at_ns()
    world.loop.others.set(Deadline(lambda _now_ns: world.health.keep(set())), due_ns - 1000)
    world.loop.stall_until(due_ns)
    assert len(world.runner.asked) == 1
    assert world.loop.others.next_at_ns() is None


def test_init_fail(world):
    assert world.follow(vip(script(0, initFail=True))).fault == BEGINS_AS_FAILED
    world.loop.pass_ms(1)
    world.runner.answer(True)
    assert world.assess().fault is None


def test_init_fail_takes_as_many_good_runs_as_rise_says(world):
    world.follow(vip(script(0, initFail=True, rise=3)))
    for good, fault in ((True, True), (True, True), (False, True), (True, True), (True, True), (True, False)):
        world.loop.pass_ms(1000)
        world.runner.answer(good)
        assert bool(world.assess().fault) == fault


def test_weight_zero_waits_for_its_first_result(world):
    assert world.follow(vip(script(0))).waiting == "chk: has not run yet"
    world.loop.pass_ms(1)
    world.runner.answer(False, "s ended with status 1")
    assert (world.assess().waiting, world.assess().fault) == (None, "chk: s ended with status 1")


def test_no_result_is_none_until_it_lasts(world):
    world.follow(vip(script()))
    world.loop.pass_ms(1)
    world.runner.answer(True)
    world.runner.problem = "the checks process has ended"
    for _ in range((PATIENCE_NS // MS + 1900) // 200):
        world.loop.pass_ms(200)
        world.runner.answer(None)
    assert world.value == 10
    for _ in range(5):
        world.loop.pass_ms(200)
        world.runner.answer(None)
    assert (world.value, world.assess().parts[0].reason) == (0, "no result: the checks process has ended")
    world.loop.pass_ms(200)
    world.runner.answer(True)
    assert world.value == 10


def test_a_check_without_results_for_too_long_is_bad_until_it_rises(world):
    world.follow(vip(script(0, interval="1s", rise=3, fall=3)))
    world.loop.pass_ms(1)
    world.runner.answer(True)
    world.loop.pass_ms(PATIENCE_NS // MS + 3000)
    assert world.assess().fault == "chk: no result: the checks process does not answer"
    for good, fault in ((False, True), (True, True), (True, True), (True, False)):
        world.runner.answer(good)
        assert bool(world.assess().fault) == fault
        world.loop.pass_ms(1000)


# --- node, pods, cordon


def test_the_operators_facts(world):
    assert world.follow(vip(track("pods", 0), assigned=True)).waiting == "chk: nothing heard from the operator"
    fact = AssignedFact(name="chk", value=False, reason="0 of 1 pods ready")
    assert world.follow(vip(track("pods", 0), facts=[fact])).fault == "chk: 0 of 1 pods ready"
    stale = replace(fact, value=True, reason="", stale=True)
    answer = world.follow(vip(track("pods"), facts=[stale]))
    assert (answer.contribution, answer.parts[0].reason) == (10, "good (stale)")


CORDONED = AssignedFact(name=CORDON_FACT, value=True, reason="the node is cordoned")


@pytest.mark.parametrize(
    ("policy", "value", "release"),
    [
        (OnCordon.KEEP, 0, None),
        (OnCordon.DEMOTE, -253, None),
        (OnCordon.RELEASE, 0, "the node is cordoned"),
    ],
)
def test_cordon(world, policy, value, release):
    answer = world.follow(vip(facts=[CORDONED], on_cordon=policy))
    assert (answer.contribution, answer.release) == (value, release)
    assert world.follow(vip(facts=[replace(CORDONED, value=False)], on_cordon=policy)).contribution == 0


def test_a_check_that_is_called_cordoned_is_not_the_cordon(world):
    fact = AssignedFact(name="cordoned", value=True, reason="Ready is True")
    check = replace(track("node"), name="cordoned")
    answer = world.follow(vip(check, facts=[fact, CORDONED], on_cordon=OnCordon.DEMOTE))
    assert [(part.name, part.value) for part in answer.parts] == [("cordoned", 10), (CORDON_FACT, -263)]
    assert world.follow(vip(check, facts=[fact], on_cordon=OnCordon.DEMOTE)).contribution == 10


def test_a_stale_cordon_says_so(world):
    answer = world.follow(vip(facts=[replace(CORDONED, stale=True)], on_cordon=OnCordon.RELEASE))
    assert answer.release == "the node is cordoned (stale)"


def test_demote_goes_below_everybody_whatever_other_checks_add(world):
    world.follow(vip(script(253), facts=[CORDONED], on_cordon=OnCordon.DEMOTE))
    world.loop.pass_ms(1)
    world.runner.answer(True)
    assert world.value == -253


# --- documents


def test_a_check_goes_on_when_its_entry_did_not_change(world):
    world.follow(vip(script()))
    world.loop.pass_ms(1)
    world.runner.answer(True)
    assert world.follow(replace(vip(script()), generation=2)).contribution == 10
    asked = len(world.runner.asked)
    world.follow(vip(script(fall=2)))
    world.loop.pass_ms(0)
    assert len(world.runner.asked) == asked + 1, "what did change begins anew"
    assert world.follow(vip()).parts == ()
    world.health.keep(set())
    assert world.loop.others.next_at_ns() is None


def test_an_edit_of_weight_and_reverse_alone_takes_no_run_back(world):
    world.follow(vip(script(10, rise=2, fall=3)))
    for good in (True, False):
        world.loop.pass_ms(1000)
        world.runner.answer(good)
    assert world.value == 10
    assert world.follow(vip(replace(script(20, rise=2, fall=3), reverse=True))).contribution == -20
    for value in (-20, 0):
        world.loop.pass_ms(1000)
        world.runner.answer(False)
        assert world.value == value
    assert len(world.runner.asked) == 4
    assert world.follow(vip(script(0, rise=2, fall=3))).fault == "chk: r"


def test_an_entry_that_is_edited_counts_as_before_until_its_first_result(world):
    """Else every edit of a check would take its bonus away for a moment, and the VIP with it."""
    world.follow(vip(script(10)))
    world.loop.pass_ms(1)
    world.runner.answer(True)
    assert world.value == 10
    assert world.follow(vip(script(12, interval="500ms"))).contribution == 12
    assert world.follow(vip(script(12, interval="200ms"))).contribution == 12, "edited twice"
    world.loop.pass_ms(1)
    world.runner.answer(False)
    assert world.value == 0
    assert (
        world.follow(vip(track("tcp", 12, host="192.0.2.1", port=80, interval="1s", rise=1, fall=1))).contribution == 0
    )
    world.follow(vip())
    assert world.follow(vip(script(10))).contribution == 0, "what was taken out is new"


@pytest.mark.parametrize("weight", [0, 10])
def test_an_edit_alone_moves_nothing_with_init_fail_either(world, weight):
    world.follow(vip(script(weight, initFail=True, rise=2)))
    for _ in range(2):
        world.loop.pass_ms(1000)
        world.runner.answer(True)
    well = world.assess()
    assert (well.fault, well.contribution) == (None, weight)
    assert world.follow(vip(script(weight, initFail=True, rise=2, interval="2s"))) == well
    assert world.follow(vip(script(weight, initFail=True, rise=3, interval="2s"))) == well, "edited twice"
    for _ in range(3):
        world.loop.pass_ms(2000)
        world.runner.answer(True)
        assert world.assess() == well
    world.loop.pass_ms(2000)
    world.runner.answer(False)
    assert (bool(world.assess().fault), world.value) == (weight == 0, 0)


def test_a_failure_after_an_edit_counts_with_init_fail_too(world):
    world.follow(vip(script(initFail=True)))
    world.loop.pass_ms(1)
    world.runner.answer(True)
    assert world.follow(vip(script(initFail=True, interval="2s"))).contribution == 10
    world.loop.pass_ms(1)
    world.runner.answer(False)
    assert world.value == 0


def test_a_check_that_counted_as_failed_goes_on_so_when_it_is_edited(world):
    assert world.follow(vip(script(0, initFail=True))).fault == BEGINS_AS_FAILED
    assert world.follow(vip(script(0))).fault == BEGINS_AS_FAILED
    world.loop.pass_ms(1)
    world.runner.answer(True)
    assert world.assess().fault is None


def test_a_weight_that_moves_nothing_is_warned_of_once(world, caplog):
    other = Peer(node="node-b", priority=200)
    document = vip(track("process", name="httpd", quorum=1), assigned=True)
    document = replace(document, assignment=replace(document.assignment, priority=210, peers=(other,)))
    world.follow(document)
    world.follow(replace(document, generation=2))
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "not below the 210 of node-b" in warning


def test_what_moved_is_logged_with_its_reason(world, caplog):
    caplog.set_level("INFO")
    world.follow(vip(track("process", name="httpd", quorum=1)))
    world.processes.say(1)
    world.assess()
    world.loop.pass_ms(1000)
    world.processes.say(0)
    world.assess()
    assert [record.getMessage() for record in caplog.records] == [
        "chk: httpd is running: priority +10",
        "chk: httpd not running: priority -10",
    ]
