"""What the daemon does with checks that move while a VIP is going away, and with documents that come one by one."""

from types import SimpleNamespace

from vip_api.parse import parse_document
from vip_speaker.router.daemon import Daemon
from vip_speaker.router.manifests import Manifest, Snapshot


def test_a_check_that_moves_in_the_turn_of_the_deletion_brings_nothing_back():
    document = {
        "apiVersion": "kube-vrrp.io/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"addresses": ["192.168.137.100"]},
        "assignment": {"priority": 254, "virtualRouterID": 51, "peers": [], "facts": []},
    }
    deleted = parse_document(document)
    applied = []
    daemon = SimpleNamespace(
        _moved={"web": None},
        _stopping=False,
        _documents=SimpleNamespace(snapshot=SimpleNamespace(manifests={"web": SimpleNamespace(vip=deleted)})),
        instances={"web": SimpleNamespace(health="before")},
        _health=SimpleNamespace(assess=lambda _vip: "now"),
        _resolve=lambda _vip, _health: None,
        _apply=lambda vip, *_: applied.append(vip.name),
    )
    Daemon._apply_moved(daemon)
    assert applied == []


def manifest(name, **metadata):
    document = {
        "apiVersion": "kube-vrrp.io/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {"name": name, **metadata},
        "spec": {"addresses": ["192.168.137.100"], "virtualRouterID": 51},
    }
    return Manifest(name=name, vip=parse_document(document, lone=True))


class Router:
    """The parts of a daemon that new documents concern; `conflicts` is what they are found to be."""

    def __init__(self, *names):
        self.applied, self.conflicts = [], {}
        self._snapshot = Snapshot(manifests={name: manifest(name) for name in names})
        self._resolutions = dict.fromkeys(names, "before")
        self._conflicts_now = {}
        self._stopping = False
        self._passwords = SimpleNamespace(problems={})
        self.instances = {}
        self.loop = SimpleNamespace(breathe=lambda: None)
        self._health = SimpleNamespace(documents=lambda vips: None, assess=lambda vip: None)
        self._cleanup = SimpleNamespace(set_intervals=lambda _: None)
        self._outlet = SimpleNamespace(documents=lambda *_: None)
        self._close_unused_links = lambda: None
        self._resolve = lambda vip, _: f"of {vip.name}"
        self._conflicts = lambda _: self.conflicts
        self._apply = lambda vip, resolution, _: self.applied.append((vip.name, resolution))

    def read(self, **changes):
        kept = {name: one for name, one in self._snapshot.manifests.items() if changes.get(name, one) is not None}
        manifests = kept | {name: one for name, one in changes.items() if one is not None}
        self._documents = SimpleNamespace(snapshot=Snapshot(manifests=manifests))
        return Daemon._refresh_changed(self)


def test_a_document_that_concerns_no_other_vip_is_all_that_is_looked_at():
    router = Router("a", "b", "c")
    assert router.read(b=manifest("b"), d=manifest("d"))
    assert sorted(router.applied) == [("b", "of b"), ("d", "of d")]
    assert router._resolutions == {"a": "before", "b": "of b", "c": "before", "d": "of d"}
    router.applied.clear()
    assert router.read()
    assert router.applied == []


def test_what_may_concern_others_is_a_matter_of_all_documents():
    router = Router("a", "b")
    assert not router.read(b=None), "gone"
    assert not router.read(b=manifest("b", deletionTimestamp="2026-01-01T00:00:00Z")), "deleted"
    assert not router.read(b=Manifest(name="b", vip=None, problems=("?",))), "never good"
    router.conflicts = {"a": "its virtual router ID is that of b"}
    assert not router.read(b=manifest("b")), "another must give way"
    assert router.applied == []
    router.conflicts = {"b": "its virtual router ID is that of a"}
    assert router.read(b=manifest("b"))
    assert router._conflicts_now == router.conflicts
