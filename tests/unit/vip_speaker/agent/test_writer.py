"""Which documents the router is given, and how they come to it."""

import copy
import errno
import json
import os
import stat
import threading
import time

import pytest
from vip_api.model import VirtualIP
from vip_api.parse import parse_document
from vip_speaker.agent import writer as writer_module
from vip_speaker.agent.answers import CONFIRM_AFTER_S
from vip_speaker.agent.api import NotTextError
from vip_speaker.agent.desired import desired, is_deleted
from vip_speaker.agent.directory import DesiredDirectory
from vip_speaker.agent.store import Store
from vip_speaker.agent.writer import DELETED_FOR_S, IDLE_S, PACE_S, Writer

from tests.agent_fakes import FakeApi, assigned, refusal, vip


def test_the_document_is_what_the_router_parses():
    body = assigned()
    body["spec"]["transport"] = "Unicast"
    document = desired(body, "node1", None, "secret")
    parsed = parse_document(document)
    assert isinstance(parsed, VirtualIP)
    assert (parsed.name, parsed.uid, parsed.generation) == ("web", "uid-web", 1)
    assert parsed.assignment is not None
    assert (parsed.assignment.priority, parsed.assignment.virtual_router_id) == (254, 51)
    assert parsed.assignment.password == "secret"
    (peer,) = parsed.assignment.peers
    assert (peer.node, peer.priority, str(peer.address)) == ("node2", 252, "192.168.137.12")


def test_what_changes_in_a_burst_is_looked_at_every_20_ms(tmp_path, monkeypatch):
    store = Store()
    writer = Writer(store, DesiredDirectory(tmp_path), FakeApi(), node="node1")
    looks = []
    monkeypatch.setattr(writer, "synchronise", lambda **_: looks.append(time.monotonic()) or "")
    thread = threading.Thread(target=writer.run)
    thread.start()
    began = time.monotonic()
    for _ in range(200):
        writer.poke()
        time.sleep(0.001)
    took = time.monotonic() - began
    writer.stop()
    thread.join(timeout=10)
    assert 1 <= len(looks) <= took / PACE_S + 2


def test_a_peer_whose_checks_are_well_is_no_news():
    body = assigned()
    before = desired(body, "node1", None, None)
    body["status"]["nodes"][1]["effectivePriority"] = body["status"]["nodes"][1]["priority"]
    assert desired(body, "node1", before, None) == before


def test_what_checks_make_of_a_peers_priority_is_handed_on():
    body = assigned()
    for reported in (202, None):
        body["status"]["nodes"][1]["effectivePriority"] = reported
        parsed = parse_document(desired(body, "node1", None, "secret"))
        assert isinstance(parsed, VirtualIP)
        assert parsed.assignment is not None
        (peer,) = parsed.assignment.peers
        assert (peer.priority, peer.effective) == (252, reported or 252)


def test_facts_are_handed_on():
    facts = [{"name": "cordon", "value": False, "reason": "cordoned", "stale": False}]
    parsed = parse_document(desired(assigned(facts=facts), "node1", None, None))
    assert isinstance(parsed, VirtualIP)
    assert parsed.assignment is not None
    assert parsed.assignment.facts[0].reason == "cordoned"


def test_without_assignment_there_is_no_document():
    former = desired(assigned(), "node1", None, None)
    assert desired(assigned(), "node3", None, None) is None
    assert desired(assigned(), "node3", former, None) is None
    body = assigned()
    del body["status"]["nodes"][0]["priority"]
    assert desired(body, "node1", former, None) is None


def test_before_the_vrid_is_decided_the_router_listens():
    document = desired(assigned(vrid=None), "node1", None, None)
    assert document is not None
    assert "virtualRouterID" not in document["assignment"]


def test_a_generation_that_was_not_accepted_yet_is_not_handed_on():
    former = desired(assigned(), "node1", None, None)
    edited = assigned()
    edited["metadata"]["generation"] = 2
    edited["spec"] = {"addresses": ["192.168.137.9"]}
    edited["status"]["nodes"][0]["priority"] = 240
    document = desired(edited, "node1", former, None)
    assert document is not None
    assert document["spec"] == {"addresses": ["192.168.137.100"], "priority": 1}
    assert document["metadata"]["generation"] == 1
    assert document["assignment"]["priority"] == 240
    assert desired(edited, "node1", None, None) is None


def test_a_refused_generation_is_not_handed_on():
    former = desired(assigned(), "node1", None, None)
    edited = assigned(generation=2)
    edited["status"]["conditions"][0]["status"] = "False"
    document = desired(edited, "node1", former, None)
    assert document is not None
    assert document["metadata"]["generation"] == 1


def test_a_vip_that_lost_its_status_goes_on_as_it_was():
    former = desired(assigned(), "node1", None, None)
    assert desired(vip(), "node1", former, None) == former
    assert desired(vip(), "node1", None, None) is None
    assert desired(assigned(vrid=None), "node1", former, None) == former


def test_a_vrid_that_was_taken_away_is_gone():
    former = desired(assigned(), "node1", None, None)
    body = assigned(vrid=None)
    body["status"]["conditions"].append({"type": "Ready", "status": "False", "reason": "VRIDConflict"})
    document = desired(body, "node1", former, None)
    assert document is not None
    assert "virtualRouterID" not in document["assignment"]


class Bench:
    def __init__(self, path, *objects):
        self.now = 0.0
        self.api = FakeApi()
        self.store = Store()
        self.directory = DesiredDirectory(path)
        self.stale = False
        self.writer = Writer(
            self.store, self.directory, self.api, node="node1", stale=lambda: self.stale, clock=lambda: self.now
        )
        if objects:
            self.store.replace(objects)

    def synchronise(self):
        self.writer.synchronise()
        return self.directory.read_all()


def test_what_is_said_of_a_document_is_said_once(tmp_path, caplog):
    """Most of its changes are what peers report."""
    caplog.set_level("INFO")
    body = assigned()
    bench = Bench(tmp_path, body)
    bench.synchronise()
    for address in ("192.168.137.13", "192.168.137.14"):
        body = copy.deepcopy(body)
        body["status"]["nodes"][1]["primaryAddress"] = address
        bench.store.replace([body])
        bench.synchronise()
    assert caplog.messages == ["web: generation 1, priority 254, VRID 51"]
    bench.store.clear()
    bench.synchronise()
    bench.now += DELETED_FOR_S
    bench.synchronise()
    bench.store.replace([body])
    bench.synchronise()
    assert caplog.messages[1:] == ["web: deleted", "web: generation 1, priority 254, VRID 51"]


def test_files_follow_the_store(tmp_path):
    bench = Bench(tmp_path, assigned("a"), assigned("b"))
    assert sorted(bench.synchronise()) == ["a", "b"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b.json"]
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640
    bench.store.remove(assigned("a"))
    bench.store.put(assigned("b", node="node3") | {"metadata": assigned("b")["metadata"] | {"resourceVersion": "9"}})
    bench.synchronise()
    bench.now += DELETED_FOR_S
    assert bench.synchronise() == {}, "a is deleted, b is served by others"


def test_a_bug_that_one_object_brings_out_stops_no_other_document(tmp_path, monkeypatch):
    bench = Bench(tmp_path, assigned(), assigned("other"))
    before = bench.synchronise()
    sound = writer_module.desired

    def spoilt(body, *arguments):
        assert body["metadata"]["name"] != "web", "a bug"
        return sound(body, *arguments)

    monkeypatch.setattr(writer_module, "desired", spoilt)
    newer = [assigned(name) for name in ("web", "other")]
    for body in newer:
        body["status"]["nodes"][0]["priority"] = 100
    bench.store.replace(newer)
    now = bench.synchronise()
    assert now["web"] == before["web"]
    assert now["other"]["assignment"]["priority"] == 100
    monkeypatch.undo()
    assert bench.synchronise()["web"]["assignment"]["priority"] == 100


def test_what_only_lacks_in_a_list_is_released_after_a_while_unless_it_comes_back(tmp_path):
    """A list in the midst of a restore, or of everything being applied again."""
    bench = Bench(tmp_path, assigned("a"), assigned("b"))
    before = bench.synchronise()
    bench.store.replace([assigned("a")])
    assert bench.synchronise() == before
    bench.now += CONFIRM_AFTER_S / 2
    bench.store.put(assigned("b"))
    assert bench.synchronise() == before
    bench.store.replace([assigned("a")])
    bench.synchronise()
    bench.now += CONFIRM_AFTER_S - 0.1
    assert bench.synchronise() == before
    bench.now += 0.1
    parsed = parse_document(bench.synchronise()["b"])
    assert isinstance(parsed, VirtualIP)
    assert parsed.deleted
    bench.now += DELETED_FOR_S
    assert sorted(bench.synchronise()) == ["a"]


def test_an_agent_that_starts_gives_what_lacks_in_its_first_list_the_same_time(tmp_path):
    bench = Bench(tmp_path, assigned("a"), assigned("b"))
    before = bench.synchronise()
    again = Bench(tmp_path, assigned("a"))
    assert again.synchronise() == before


def test_what_is_deleted_is_told_first_and_removed_when_the_router_has_seen_it(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.synchronise()
    bench.store.clear()
    parsed = parse_document(bench.synchronise()["web"])
    assert isinstance(parsed, VirtualIP)
    assert parsed.deleted
    assert not bench.directory.holding(), "nothing is served any more"
    bench.now += DELETED_FOR_S / 2
    assert "web" in bench.synchronise()
    bench.now += DELETED_FOR_S / 2
    assert bench.synchronise() == {}


def test_what_an_agent_before_this_one_told_is_removed(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.synchronise()
    bench.store.clear()
    bench.synchronise()
    after = Bench(tmp_path)
    after.store.clear()
    assert after.synchronise() == {}


def test_a_vip_that_is_made_anew_at_once_is_not_deleted(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.synchronise()
    bench.store.clear()
    bench.synchronise()
    bench.store.replace([vip()])
    assert bench.synchronise() == {}, "nobody has seen the new one yet"
    bench.store.replace([assigned()])
    parsed = parse_document(bench.synchronise()["web"])
    assert isinstance(parsed, VirtualIP)
    assert not parsed.deleted


@pytest.mark.parametrize("anew", [vip(), assigned(vrid=None)])
def test_a_vip_that_was_made_anew_while_nobody_watched_is_not_the_one_before(tmp_path, anew):
    """The list shows another object of that name: what the router has was deleted, whether or not an operator has seen
    the new one.
    """
    bench = Bench(tmp_path, assigned())
    bench.synchronise()
    anew = anew | {"metadata": anew["metadata"] | {"uid": "another"}, "spec": {"addresses": ["192.168.137.9"]}}
    bench.store.replace([anew])
    document = bench.synchronise().get("web")
    if "status" not in anew:
        assert document is None
    else:
        assert document is not None
        assert document["spec"] == anew["spec"]
        assert "virtualRouterID" not in document["assignment"]


def test_what_asks_for_the_same_goes_on_though_it_was_made_anew(tmp_path):
    """The API server lost everything, and it is applied again from a file: the operator adopts what runs."""
    bench = Bench(tmp_path, assigned())
    before = bench.synchronise()
    bare = vip()
    bare["metadata"]["uid"] = "another"
    assert bare["spec"] == assigned()["spec"]
    bench.store.replace([bare])
    assert bench.synchronise() == before
    undecided = assigned(vrid=None)
    undecided["metadata"]["uid"] = "another"
    bench.store.replace([undecided])
    assert bench.synchronise() == before


def test_nothing_is_written_twice(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.synchronise()
    before = (tmp_path / "web.json").stat()
    bench.synchronise()
    assert (tmp_path / "web.json").stat().st_ino == before.st_ino


def test_what_someone_else_did_to_the_files_is_put_right(tmp_path):
    bench = Bench(tmp_path, assigned())
    wanted = bench.synchronise()
    (tmp_path / "web.json").write_text("{}")
    (tmp_path / "stranger.json").write_text("{}")
    assert bench.synchronise() == wanted
    (tmp_path / "web.json").unlink()
    assert bench.synchronise() == wanted


@pytest.mark.parametrize("trap", ["fifo", "link", "directory", "huge", "text", "deep"])
def test_a_hostile_directory_neither_blocks_nor_misleads(tmp_path, trap):
    secret = tmp_path / "secret"
    secret.write_text('{"stolen": true}')
    path = tmp_path / "d" / "web.json"
    path.parent.mkdir()
    match trap:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(secret)
        case "directory":
            path.mkdir()
        case "huge":
            path.write_text('{"a": "' + "x" * 2**20 + '"}')
        case "text":
            path.write_bytes(b"\xff\xfe")
        case "deep":
            path.write_text("[" * 100_000)
    bench = Bench(path.parent, assigned())
    assert bench.directory.read_all() == {}
    assert list(bench.synchronise()) == ["web"]
    assert secret.read_text() == '{"stolen": true}'


def test_a_file_that_cannot_be_written_holds_up_no_other(tmp_path, monkeypatch):
    bench = Bench(tmp_path, assigned("a"), assigned("b"))
    write = bench.directory.write

    def refuse(name, document):
        if name == "a":
            raise OSError(errno.ENOSPC, "No space left on device", "a.json")
        write(name, document)

    monkeypatch.setattr(bench.directory, "write", refuse)
    assert "a.json" in bench.writer.synchronise()
    assert sorted(bench.directory.read_all()) == ["b"]


def test_a_directory_that_is_gone_is_said():
    bench = Bench(tmp_path := DesiredDirectory("/nonexistent").path, assigned())
    assert str(tmp_path) in bench.writer.synchronise()


@pytest.mark.parametrize("forged", [{}, {"metadata": 1}, {"apiVersion": "a", "kind": "b", "metadata": [], "spec": {}}])
def test_a_forged_former_document_is_not_gone_on_with(tmp_path, forged):
    (tmp_path / "web.json").write_text(json.dumps(forged))
    edited = assigned()
    edited["metadata"]["generation"] = 2
    assert Bench(tmp_path, edited).synchronise() == {}


def authenticated(**reference):
    body = assigned()
    body["spec"] = {**body["spec"], "version": 2, "authentication": {"type": "PASS", "passwordSecretRef": reference}}
    return body


def test_the_password_comes_from_the_secret_and_stays_while_the_api_is_away(tmp_path):
    bench = Bench(tmp_path, authenticated(name="vrrp", key="password"))
    assert "password" not in bench.synchronise()["web"]["assignment"]
    bench.api.secrets = {("vrrp", "password"): "hunter2"}
    bench.now += 6
    assert bench.synchronise()["web"]["assignment"]["password"] == "hunter2"
    for trouble in (refusal(503), refusal(403), refusal(None), {}):
        bench.now += 400
        bench.api.secrets = trouble
        assert bench.synchronise()["web"]["assignment"]["password"] == "hunter2"
    bench.api.secrets = {("vrrp", "password"): "changed"}
    bench.now += 400
    assert bench.synchronise()["web"]["assignment"]["password"] == "changed"


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ({}, "SecretMissing: kube-vrrp's namespace has no Secret nope with the key password"),
        (refusal(403), "SecretMissing: the speaker may not read the Secret nope in kube-vrrp's namespace"),
        (
            {("nope", "password"): "longer than it may be"},
            "PasswordInvalid: the key password of the Secret nope must be 1 to 8 bytes: VRRPv2 carries no more",
        ),
        (
            {("nope", "password"): "hunter22\n"},
            "PasswordInvalid: the key password of the Secret nope must be 1 to 8 bytes: VRRPv2 carries no more"
            " (it ends with a line break, which counts)",
        ),
        (
            NotTextError("nope"),
            "PasswordInvalid: the key password of the Secret nope is not text",
        ),
        (refusal(503), ""),
        (refusal(None), ""),
    ],
)
@pytest.mark.parametrize("running", [False, True])
def test_why_there_is_no_password_is_said_at_once_and_the_one_in_force_stays(tmp_path, secrets, said, running):
    bench = Bench(tmp_path, authenticated(name="vrrp", key="password"))
    if running:
        bench.api.secrets = {("vrrp", "password"): "hunter2"}
        bench.synchronise()
    assert bench.writer.password_problem("web") == ""
    bench.store.replace([authenticated(name="nope", key="password")])
    bench.api.secrets = secrets
    document = bench.synchronise()["web"]
    assert document["assignment"].get("password") == ("hunter2" if running else None)
    assert bench.writer.password_problem("web") == said
    bench.synchronise()
    assert bench.writer.password_problem("web") == said, "it is not asked for again at once"
    bench.api.secrets = {("nope", "password"): "good"}
    bench.now += 6
    assert bench.synchronise()["web"]["assignment"]["password"] == "good"
    assert bench.writer.password_problem("web") == ""


def asking_for_secrets(number):
    """VIPs with a Secret each."""
    bodies = [assigned(f"web{n}") for n in range(number)]
    for n, body in enumerate(bodies):
        reference = {"name": f"secret{n}", "key": "password"}
        body["spec"]["authentication"] = {"type": "PASS", "passwordSecretRef": reference}
    return bodies


class SlowSecrets:
    """Each read takes its time, as one does that waits for an API server which is away."""

    def __init__(self, bench, monkeypatch, trouble):
        self.reads, self.beats = 0, []
        self._bench, self._trouble = bench, trouble
        monkeypatch.setattr(bench.api, "secret_value", self._read)

    def _read(self, _name, _key):
        self.reads += 1
        self._bench.now += 13
        self.beats.append(self._bench.now - self._bench.writer.beat_at)
        raise self._trouble


def test_secrets_that_cannot_be_read_do_not_make_the_writer_look_stuck(tmp_path, monkeypatch):
    bench = Bench(tmp_path, *asking_for_secrets(41))
    secrets = SlowSecrets(bench, monkeypatch, refusal(500))
    assert len(bench.synchronise()) == 41
    assert (secrets.reads, max(secrets.beats)) == (41, 13)


def test_while_the_api_is_away_one_secret_is_asked_for_and_not_all(tmp_path, monkeypatch):
    bench = Bench(tmp_path, *asking_for_secrets(41))
    secrets = SlowSecrets(bench, monkeypatch, refusal(None))
    assert len(bench.synchronise()) == 41
    assert secrets.reads == 1
    bench.now += 10
    bench.synchronise()
    assert secrets.reads == 2


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_document_that_vanishes_while_it_may_come_back_keeps_nobody_awake(tmp_path, content):
    bench = Bench(tmp_path, assigned("a"), assigned("b"))
    bench.synchronise()
    bench.store.replace([assigned("a")])
    bench.synchronise()
    (tmp_path / "b.json").unlink()
    if content is not None:
        (tmp_path / "b.json").write_text(content)
    bench.now += CONFIRM_AFTER_S + 1
    bench.synchronise()
    assert bench.writer._idle_s() == IDLE_S


def test_a_vip_that_asks_for_no_secret_any_more_has_no_trouble_with_one(tmp_path):
    bench = Bench(tmp_path, authenticated(name="nope", key="password"))
    bench.synchronise()
    assert bench.writer.password_problem("web")
    bench.store.replace([assigned()])
    bench.synchronise()
    assert bench.writer.password_problem("web") == ""


def test_an_agent_that_starts_in_an_outage_keeps_the_password(tmp_path):
    bench = Bench(tmp_path, authenticated(name="vrrp", key="password"))
    bench.api.secrets = {("vrrp", "password"): "hunter2"}
    bench.synchronise()
    again = Bench(tmp_path, authenticated(name="vrrp", key="password"))
    again.api.secrets = refusal(503)
    assert again.synchronise()["web"]["assignment"]["password"] == "hunter2"


def test_a_vip_that_is_made_anew_gets_no_password_of_a_former_time(tmp_path):
    bench = Bench(tmp_path, authenticated(name="vrrp", key="password"))
    bench.api.secrets = {("vrrp", "password"): "hunter2"}
    bench.synchronise()
    anew = authenticated(name="vrrp", key="password")
    anew["metadata"]["uid"] = "another"
    anew["spec"]["addresses"] = ["192.168.137.9"]
    unseen = Bench(tmp_path, anew)
    assert "password" not in unseen.synchronise()["web"]["assignment"]
    bench.synchronise()
    bench.store.clear()
    bench.synchronise()
    bench.api.secrets = {}
    bench.store.replace([authenticated(name="vrrp", key="password")])
    assert "password" not in bench.synchronise()["web"]["assignment"]


def test_the_secret_of_a_vip_that_is_not_ours_is_not_read(tmp_path):
    body = authenticated(name="vrrp", key="password")
    body["status"]["nodes"] = []
    bench = Bench(tmp_path, body)
    bench.api.secrets = refusal(403)
    assert bench.synchronise() == {}
    assert bench.writer._passwords == {}


def test_documents_are_json_that_replaces_atomically(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.synchronise()
    assert json.loads((tmp_path / "web.json").read_text())["kind"] == "VirtualIP"
    assert not list(tmp_path.glob(".*"))


FACT = {"name": "pods", "value": True, "reason": "at least 1 ready"}


def facts(documents):
    return documents["web"]["assignment"]["facts"]


def test_in_an_outage_facts_stay_and_are_marked(tmp_path):
    bench = Bench(tmp_path, assigned(facts=[FACT]))
    assert facts(bench.synchronise()) == [FACT]
    bench.stale = True
    marked = bench.synchronise()
    assert facts(marked) == [{**FACT, "stale": True}]
    assert isinstance(parse_document(marked["web"]), VirtualIP)
    before = (tmp_path / "web.json").stat().st_ino
    bench.synchronise()
    assert (tmp_path / "web.json").stat().st_ino == before
    bench.stale = False
    assert facts(bench.synchronise()) == [FACT]


def test_a_document_without_facts_is_not_touched_by_an_outage(tmp_path):
    bench = Bench(tmp_path, assigned())
    bench.synchronise()
    before = (tmp_path / "web.json").stat().st_ino
    bench.stale = True
    bench.synchronise()
    assert (tmp_path / "web.json").stat().st_ino == before


def test_an_agent_that_starts_in_an_outage_marks_what_it_finds_and_takes_nothing_away(tmp_path):
    Bench(tmp_path, assigned(facts=[FACT])).synchronise()
    odd = {"apiVersion": "a", "kind": "b", "metadata": {}, "spec": {}, "assignment": {"facts": [1, {}]}}
    (tmp_path / "odd.json").write_text("{}")
    (tmp_path / "odder.json").write_text(json.dumps(odd))
    again = Bench(tmp_path)
    assert facts(again.synchronise()) == [FACT]
    again.stale = True
    assert facts(again.synchronise()) == [{**FACT, "stale": True}]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["odd.json", "odder.json", "web.json"]


class CountedDirectory(DesiredDirectory):
    looks = 0

    def read_all(self, wanted=()):
        self.looks += 1
        return super().read_all(wanted)


def test_an_object_that_changes_costs_its_own_file_and_no_look_at_the_others(tmp_path, monkeypatch):
    bench = Bench(tmp_path, *(assigned(f"vip{number}") for number in range(50)))
    bench.writer._directory = CountedDirectory(tmp_path)
    bench.writer.synchronise()
    looked_at = []
    monkeypatch.setattr(
        "vip_speaker.agent.writer.desired", lambda *given: looked_at.append(given[0]) or desired(*given)
    )
    bench.store.put({**assigned("vip7", vrid=9), "metadata": {**assigned("vip7")["metadata"], "resourceVersion": "6"}})
    bench.writer.synchronise(thoroughly=False)
    assert [body["metadata"]["name"] for body in looked_at] == ["vip7"]
    assert bench.writer._directory.looks == 1
    assert bench.directory.read_all()["vip7"]["assignment"]["virtualRouterID"] == 9
    bench.store.remove(assigned("vip8"))
    bench.writer.synchronise(thoroughly=False)
    assert len(looked_at) == 1
    assert is_deleted(bench.directory.read_all()["vip8"])


class FullDirectory(DesiredDirectory):
    full = True

    def write(self, name, document):
        if self.full and name == "a":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(name, document)


def test_a_write_that_failed_is_tried_again_with_the_next_change_anywhere(tmp_path):
    bench = Bench(tmp_path, assigned("a"), assigned("b"))
    bench.writer._directory = directory = FullDirectory(tmp_path)
    assert "No space left" in bench.writer.synchronise()
    assert sorted(bench.directory.read_all()) == ["b"]
    assert bench.writer.synchronise(thoroughly=False)
    directory.full = False
    assert not bench.writer.synchronise(thoroughly=False)
    assert sorted(bench.directory.read_all()) == ["a", "b"]


def with_password(body, secret):
    body["spec"]["authentication"] = {"passwordSecretRef": {"name": secret, "key": "password"}}
    return body


@pytest.mark.parametrize("edit", ["none", "another"])
def test_an_edit_that_is_not_accepted_changes_no_password(tmp_path, edit):
    """The router goes on with the former generation, which is nothing without its password."""
    bench = Bench(tmp_path, with_password(assigned(), "vrrp"))
    bench.api.secrets = {("vrrp", "password"): "first", ("another", "password"): "other"}
    before = bench.synchronise()["web"]
    assert before["assignment"]["password"] == "first"
    edited = assigned()
    edited["metadata"] |= {"generation": 2, "resourceVersion": "6"}
    bench.store.replace([edited if edit == "none" else with_password(edited, edit)])
    assert bench.synchronise()["web"] == before


def test_a_password_changes_while_an_edit_is_not_accepted(tmp_path):
    bench = Bench(tmp_path, with_password(assigned(), "vrrp"))
    bench.api.secrets = {("vrrp", "password"): "first"}
    bench.synchronise()
    edited = with_password(assigned(), "vrrp")
    edited["metadata"] |= {"generation": 2, "resourceVersion": "6"}
    bench.store.replace([edited])
    bench.api.secrets = {("vrrp", "password"): "second"}
    bench.now += 100
    document = bench.synchronise()["web"]
    assert (document["metadata"]["generation"], document["assignment"]["password"]) == (1, "second")


@pytest.mark.parametrize("trap", [{"passwordSecretRef": {"name": "theirs", "key": "password"}}, ["x"], "x", 1])
def test_a_router_that_names_another_secret_in_its_document_is_not_given_it(tmp_path, trap):
    bench = Bench(tmp_path, with_password(assigned(), "vrrp"))
    bench.api.secrets = {("vrrp", "password"): "first", ("theirs", "password"): "stolen"}
    document = bench.synchronise()["web"]
    document["spec"]["authentication"] = trap
    (tmp_path / "web.json").write_text(json.dumps(document))
    edited = assigned()
    edited["metadata"] |= {"generation": 2, "resourceVersion": "6"}
    bench.store.replace([edited])
    assert bench.synchronise()["web"]["assignment"]["password"] == "first"


def test_what_was_deleted_while_nobody_watched_is_released_a_while_after_the_first_list(tmp_path):
    bench = Bench(tmp_path, assigned("a"), assigned("b"))
    bench.synchronise()
    again = Bench(tmp_path)
    again.writer.synchronise()
    again.store.replace([assigned("b")])
    again.writer.synchronise(thoroughly=False)
    again.now += CONFIRM_AFTER_S
    again.writer.synchronise(thoroughly=False)
    assert is_deleted(again.directory.read_all()["a"]), "not only with the next look at every file"


def test_a_secret_that_is_no_text_keeps_no_other_from_its_password(tmp_path, monkeypatch):
    """It was read: the API server is there."""
    bodies = []
    for name, secret in (("a", "binary"), ("b", "fine")):
        body = copy.deepcopy(authenticated(name=secret, key="password"))
        body["metadata"].update(name=name, uid=f"uid-{name}")
        bodies.append(body)
    bench = Bench(tmp_path, *bodies)

    def read(name, _key):
        if name == "binary":
            raise NotTextError(name)
        return "hunter2"

    monkeypatch.setattr(bench.api, "secret_value", read)
    for _ in range(3):
        documents = bench.synchronise()
        bench.now += 10
    assert documents["b"]["assignment"].get("password") == "hunter2"
