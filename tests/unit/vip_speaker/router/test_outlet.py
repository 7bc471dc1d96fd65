"""The outlet: a VIP that listens tells who is heard now, not who was when it began."""

from types import SimpleNamespace

from vip_speaker.router import outlet
from vip_speaker.router.outlet import Outlet
from vip_speaker.statefile import Link, VirtualIPState
from vip_speaker.vrrp.types import SECOND, InitState


class Loop:
    """Deadlines are carried out when the test moves the clock."""

    def __init__(self):
        self.now = 0
        self.due = {}
        self.others = SimpleNamespace(set=lambda deadline, at_ns: self.due.update({deadline: at_ns}))

    def now_ns(self):
        return self.now

    def breathe(self):
        pass

    def advance(self, nanoseconds):
        self.now += nanoseconds
        while ready := [d for d, at in self.due.items() if at is not None and at <= self.now]:
            for deadline in ready:
                del self.due[deadline]
                deadline.callback(self.now)


class Directory:
    def __init__(self):
        self.states = {}

    def clear(self):
        self.states = {}

    def write(self, state):
        self.states[state.name] = state

    def write_metrics(self, document):
        pass


def test_a_router_that_fell_silent_is_no_longer_reported_though_nothing_happened_to_the_vip(monkeypatch):
    heard = [51]
    loop, directory = Loop(), Directory()
    made = Outlet(loop, SimpleNamespace(links={}), directory)
    monkeypatch.setattr(outlet, "metrics_document", lambda *_: {})
    monkeypatch.setattr(made, "_heard_on", lambda _: Link(heard=tuple(heard)))
    monkeypatch.setattr(made, "_tell_service_manager", lambda: None)
    monkeypatch.setattr(made, "_own_address", lambda _: "")
    monkeypatch.setattr(
        outlet, "state_document", lambda one, link, *_: VirtualIPState(name=one.name, state="INIT", link=link)
    )
    made.start()
    state = object.__new__(InitState)
    made.changed(SimpleNamespace(name="web", state=state, link=object()))
    loop.advance(0)
    assert directory.states["web"].link.heard == (51,)
    heard.clear()
    loop.advance(SECOND)
    assert directory.states["web"].link.heard == ()
