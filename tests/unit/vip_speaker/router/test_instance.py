"""What an instance does not do anew when only its peers are others: it happens to each of hundreds as they begin."""

from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

from vip_speaker.router.instance import Instance
from vip_speaker.router.resolution import Resolved
from vip_speaker.vrrp.types import SECOND, Config, Identity, InitState, Peer, Reconfigured

CONFIG = Config(
    identity=Identity(version=3, vrid=51, advertisement_interval_ns=0, channel="eth0"),
    priority=200,
    advertisement_interval_ns=SECOND,
    primary_address=ip_address("192.168.137.201"),
    addresses=(ip_address("192.168.137.200"),),
)
IN_FORCE = Resolved(
    ifindex=2,
    interface="eth0",
    mac="02:00:00:00:00:01",
    own_addresses=frozenset(),
    config=CONFIG,
    addresses=(),
    advertised=(),
)
PEERS = (Peer(priority=252, address=ip_address("192.168.137.202")),)


class Router:
    """An instance that has no link to open: whoever tries ends the test."""

    def __init__(self, state=None):
        self.state, self.resolved, self.config, self.steps = state, IN_FORCE, CONFIG, []
        self.holding = SimpleNamespace(stands=True, settle=lambda: None)

    def _step(self, event):
        self.steps.append((event, self.config))

    def _configure_peers(self, resolved):
        Instance._configure_peers(self, resolved)


def test_other_peers_are_in_force_with_the_channel_that_is_there():
    router, config = Router(), replace(CONFIG, peers=PEERS)
    Instance._configure(router, replace(IN_FORCE, config=config))
    assert router.config.peers == PEERS
    assert router.resolved.config.peers == PEERS
    assert router.steps == [(Reconfigured(previous=CONFIG), config)], "the election reckons with them"


def test_who_does_not_take_part_yet_only_notes_them():
    router, config = Router(InitState()), replace(CONFIG, peers=PEERS)
    Instance._configure(router, replace(IN_FORCE, config=config))
    assert (router.config, router.steps) == (config, [])


def test_anything_else_is_not_a_matter_of_peers():
    for other in (
        replace(IN_FORCE, mac="02:00:00:00:00:02"),
        replace(IN_FORCE, peers=(ip_address("192.168.137.202"),)),
        replace(IN_FORCE, config=replace(CONFIG, priority=199, peers=PEERS)),
    ):
        assert other.with_peers_of(IN_FORCE) != IN_FORCE
