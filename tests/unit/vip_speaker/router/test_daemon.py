"""What the daemon does with checks that move while a VIP is going away, and with documents that come one by one."""

from types import SimpleNamespace

from vip_api.parse import parse_document
from vip_speaker.router.bulkhead import Bugs
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
        _look_at=lambda _vip: "now",
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


class Router(Daemon):
    """What documents come to, without a link: `conflicts` is what they are found to be."""

    def __init__(self, *names):
        self.applied, self.released, self.conflicts = [], [], {}
        self._stopping, self._conflicts_now, self._resolutions, self._in_force = False, {}, {}, {}
        self._passwords = SimpleNamespace(problems={})
        self.instances = {}
        self.loop = SimpleNamespace(breathe=lambda: None)
        self._bugs = Bugs()
        self._health = SimpleNamespace(keep=lambda names: None, follow=lambda vip: None, assess=lambda vip: "fine")
        self._cleanup = SimpleNamespace(set_intervals=lambda _: None)
        self._outlet = SimpleNamespace(documents=lambda *_: None)
        self.read(**{name: manifest(name) for name in names})

    def _close_unused_links(self):
        pass

    def _resolve(self, vip, health):
        return f"of {vip.name}"

    def _conflicts(self, resolutions):
        return {name: why for name, why in self.conflicts.items() if name in resolutions}

    def _apply(self, vip, health):
        assert self._resolutions[vip.name] == f"of {vip.name}"
        self.applied.append(vip.name)
        release = lambda at_once: self.released.append((vip.name, at_once))  # noqa: E731
        self.instances.setdefault(vip.name, SimpleNamespace(vip=vip, wanted=True, release=release))

    def read(self, **changes):
        """These documents are there anew, the others as they were; None: gone."""
        self.applied, self.released = [], []
        manifests = {name: one for name, one in (self._in_force | changes).items() if one is not None}
        self._documents = SimpleNamespace(snapshot=Snapshot(manifests=manifests))
        self._documents_read(changed=True)


def test_a_document_that_concerns_no_other_vip_is_all_that_is_looked_at():
    router = Router("a", "b", "c")
    assert router.applied == ["a", "b", "c"]
    router.read(b=manifest("b"), d=manifest("d"))
    assert router.applied == ["b", "d"]
    assert router._resolutions.keys() == {"a", "b", "c", "d"}
    router.read()
    assert router.applied == []


def test_whose_conflict_begins_or_ends_is_looked_at_too():
    router = Router("a", "b", "c")
    router.conflicts = {"a": "its virtual router ID is that of b"}
    router.read(b=manifest("b"))
    assert router.applied == ["b", "a"]
    router.read(b=manifest("b"))
    assert router.applied == ["b"], "the conflict of a is in force"
    router.conflicts = {}
    router.read(b=manifest("b"))
    assert router.applied == ["b", "a"]


def test_what_is_gone_is_released_and_what_is_deleted_at_once():
    router = Router("a", "b", "c")
    router.read(a=None, b=manifest("b", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert router.released == [("a", False), ("b", True)]
    assert router.applied == []
    assert router._resolutions.keys() == {"c"}


def test_a_document_that_was_never_good_means_nothing_and_stands_in_nobody_s_way():
    router = Router("a")
    router.read(b=Manifest(name="b", vip=None, problems=("?",)))
    assert router.applied == []
    router.read(b=manifest("b"))
    assert router.applied == ["b"]


def test_a_refresh_looks_at_everything():
    router = Router("a", "b")
    router.applied = []
    router.refresh()
    assert router.applied == ["a", "b"]


def test_nothing_is_brought_in_force_by_one_that_leaves():
    router = Router("a")
    router._stopping = True
    router.read(b=manifest("b"))
    assert router.applied == []


def test_a_conflict_that_begins_because_another_one_ended_is_in_force_at_once():
    """Whom the end of a conflict leads to look at may find that it claims more than before."""
    router = Router("a", "b", "c")
    router.conflicts = {"a": "its virtual router ID is that of b"}
    router.read(b=manifest("b"))
    found = iter([{}, {"c": "its address is that of a"}, {"c": "its address is that of a"}])
    router._conflicts = lambda _resolutions: next(found)
    router.read(b=manifest("b"))
    assert router.applied == ["b", "a", "c"]
    assert router._conflicts_now.keys() == {"c"}
