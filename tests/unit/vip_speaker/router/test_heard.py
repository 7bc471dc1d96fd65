"""Who is remembered of those who advertise on a link."""

from ipaddress import ip_address

from vip_speaker.router.heard import INTERVALS, MAX_HEARD, SHORTEST_NS, Neighbours
from vip_speaker.vrrp.types import SECOND, Advertisement


def advert(vrid=51, source="192.168.137.201", *, priority=200, interval_ns=SECOND):
    return Advertisement(
        version=3, vrid=vrid, priority=priority, interval_ns=interval_ns, source=ip_address(source)
    )  # fmt: skip


def vrids(neighbours, now_ns):
    return [key.vrid for key, _ in neighbours.present(now_ns)]


def test_everyone_heard_is_there_by_vrid_and_source():
    heard = Neighbours()
    for vrid, source in ((60, "192.168.137.201"), (51, "192.168.137.203"), (51, "192.168.137.202")):
        heard.note(advert(vrid, source), 0)
    assert [(k.vrid, str(k.source), p) for k, p in heard.present(0)] == [
        (51, "192.168.137.202", 200), (51, "192.168.137.203", 200), (60, "192.168.137.201", 200),
    ]  # fmt: skip


def test_who_leaves_with_priority_0_is_gone_at_once():
    heard = Neighbours()
    heard.note(advert(), 0)
    heard.note(advert(priority=0), SECOND)
    heard.note(advert(52, priority=0), SECOND)
    assert vrids(heard, SECOND) == []


def test_who_falls_silent_is_gone_after_some_of_its_intervals():
    heard = Neighbours()
    heard.note(advert(51, interval_ns=40 * SECOND), 0)
    heard.note(advert(52, interval_ns=SECOND // 100), 0)
    assert vrids(heard, SHORTEST_NS - 1) == [51, 52]
    assert vrids(heard, SHORTEST_NS) == [51]
    assert vrids(heard, INTERVALS * 40 * SECOND) == []


def test_a_neighbour_that_invents_routers_fills_a_bounded_table():
    heard = Neighbours()
    for n in range(MAX_HEARD + 10):
        heard.note(advert(source=f"10.0.{n // 256}.{n % 256}"), 0)
    assert len(heard.present(0)) == MAX_HEARD
    heard.note(advert(7), SHORTEST_NS)
    assert vrids(heard, SHORTEST_NS) == [7]
