"""Who is told that another station announces an address."""

from ipaddress import ip_address
from types import SimpleNamespace

from vip_speaker.router.activelink import ActiveLink
from vip_speaker.wire.neighbour import Announced

A, B, C = (ip_address(f"192.168.137.{number}") for number in (1, 2, 3))


class Link:
    """The part of a link that announcements concern, without sockets."""

    def __init__(self):
        self._watchers, self._watched, self._closed = {}, {}, True
        self.seen = []
        self._announcements = SimpleNamespace(
            receive=lambda: [Announced(address=self.seen[-1], mac="02:00:00:00:00:09")]
        )

    def watch(self, listener, *addresses):
        ActiveLink.watch(self, listener, frozenset(addresses))

    def told(self, address, *listeners):
        for listener in listeners:
            listener.heard.clear()
        self.seen.append(address)
        ActiveLink._read_announcements(self)
        return [listener.name for listener in listeners if listener.heard]


class Listener:
    def __init__(self, name):
        self.name, self.heard = name, []

    def announced(self, announced):
        self.heard.append(announced)


def test_those_are_told_that_watch_the_address_now():
    link, web, db = Link(), Listener("web"), Listener("db")
    link.watch(web, A, B)
    link.watch(db, B)
    assert [link.told(one, web, db) for one in (A, B, C)] == [["web"], ["web", "db"], []]
    link.watch(web, B, C)
    assert [link.told(one, web, db) for one in (A, B, C)] == [[], ["web", "db"], ["web"]]
    link.watch(db)
    assert [link.told(one, web, db) for one in (A, B, C)] == [[], ["web"], ["web"]]
    link.watch(web)
    assert not link._watched, "what the kernel's filter is made of"
