"""What a scrape shows."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from vip_speaker.agent.metrics import NodeCollector
from vip_speaker.agent.reflector import Reflector
from vip_speaker.agent.reporter import Reporter
from vip_speaker.agent.store import Store
from vip_speaker.statedirectory import StateDirectory
from vip_speaker.statefile import Contribution, PriorityParts, VirtualIPState

from tests.agent_fakes import FakeApi


def scrape(tmp_path, metrics=None, *states):
    directory = StateDirectory(tmp_path)
    directory.create()
    if metrics is not None:
        directory.write_metrics(metrics)
    store, api = Store(), FakeApi()
    reporter = Reporter(store, directory, api, node="node1", clock=lambda: 0.0)
    reporter.states = {s.name: s for s in states}
    reflector = Reflector(api, store, holding=lambda: False, clock=lambda: 100.0)
    registry = CollectorRegistry()
    registry.register(NodeCollector(directory, reflector, reporter, clock=lambda: 130.0))
    reflector.turn()
    return generate_latest(registry).decode().splitlines()


def test_states_priorities_and_checks(tmp_path):
    parts = PriorityParts(base=254, contributions=(Contribution(name="httpd", value=-20),))
    lines = scrape(tmp_path, {}, VirtualIPState(name="web", state="MASTER", effectivePriority=234, priorityParts=parts))
    assert 'kube_vrrp_state{state="MASTER",virtualip="web"} 1.0' in lines
    assert 'kube_vrrp_state{state="BACKUP",virtualip="web"} 0.0' in lines
    assert 'kube_vrrp_effective_priority{virtualip="web"} 234.0' in lines
    assert 'kube_vrrp_check_contribution{check="httpd",virtualip="web"} -20.0' in lines
    assert 'kube_vrrp_split_brain{virtualip="web"} 0.0' in lines
    assert "kube_vrrp_api_answer_age_seconds 30.0" in lines
    assert "kube_vrrp_router_up 0.0" in lines


def test_the_routers_counters(tmp_path):
    metrics = {
        "virtualips": {"web": {"state": "MASTER", "transitions": 3, "adverts_sent": 7, "notes": {"advert_late": 2}}},
        "links": {"eth0": {"adverts_received": 9, "discarded": {"ttl": 4}, "remarks": {}}},
        "worst_lateness_seconds": 0.25,
    }
    lines = scrape(tmp_path, metrics)
    assert 'kube_vrrp_transitions_total{virtualip="web"} 3.0' in lines
    assert 'kube_vrrp_adverts_sent_total{virtualip="web"} 7.0' in lines
    assert 'kube_vrrp_notes_total{note="advert_late",virtualip="web"} 2.0' in lines
    assert 'kube_vrrp_link_adverts_received_total{interface="eth0"} 9.0' in lines
    assert 'kube_vrrp_link_discarded_total{interface="eth0",reason="ttl"} 4.0' in lines
    assert "kube_vrrp_worst_lateness_seconds 0.25" in lines
    assert "kube_vrrp_router_up 1.0" in lines


def test_nonsense_in_the_routers_file_is_left_out(tmp_path):
    lines = scrape(tmp_path, {"virtualips": {"web": {"transitions": "x", "a": True}, "b": 7}, "links": []})
    assert not [line for line in lines if "transitions" in line]
    assert "kube_vrrp_router_up 1.0" in lines
