"""What the API server answers, or fails to, and that nothing moves on the wire for it."""

import time

import pytest

from tests.cluster.faults.proxy import OPERATOR, SPEAKER, Fault, detour
from tests.cluster.faults.witness import holders, moves, serve_first
from tests.cluster.installation import NAMESPACE
from tests.netns import wait_for

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"
SPELL_S = 6.0
# An agent keeps one list-and-watch and writes what differs; an operator watches five kinds, lists them, and renews a
# lease. With delays that grow from 0.2 s each of them asks about six times in a spell: this is twice that.
MOST_REQUESTS = {SPEAKER: 3 * 15, OPERATOR: 2 * 90}


@pytest.fixture(scope="module")
def behind_proxy(installation):
    """The product with a VIP that is served, all of whose requests go through the proxy."""
    installation.restore()
    with detour(installation.cluster) as proxy:
        serve_first(installation, "web", ADDRESS, virtualRouterID=77)
        wait_for(lambda: is_back(proxy), what="speakers and operator watch through the proxy", timeout=60)
        yield installation, proxy
    installation.cluster.stop_api()
    installation.cluster.start_api()
    installation.delete_vips()


def is_back(proxy):
    """Whether every agent watches VirtualIPs, and both operators their five kinds."""
    agents, operators = proxy.watching(SPEAKER).values(), proxy.watching(OPERATOR).values()
    return [len(paths) for paths in agents] == [1, 1, 1] and [len(paths) for paths in operators] == [5, 5]


def all_have(product, generation):
    return all(e.get("observedGeneration") == generation for e in product.status("web")["nodes"])


def edit(product):
    """An edit that moves nothing; its generation."""
    found = product.cluster.get("vip", "web")
    delay = "7s" if found["spec"].get("preemptDelay", "0s") == "0s" else "0s"
    product.cluster.kubectl("patch", "vip", "web", "--type=merge", f'--patch={{"spec": {{"preemptDelay": "{delay}"}}}}')
    return int(product.cluster.get("vip", "web")["metadata"]["generation"])


def all_restarts(product):
    """How often each container of ours was started again."""
    pods = product.cluster.get("pods", "-n", NAMESPACE)["items"]
    return {
        (p["metadata"]["name"], c["name"]): c["restartCount"] for p in pods for c in p["status"]["containerStatuses"]
    }


FAULTS = {
    "500": Fault(status=500),
    "503": Fault(status=503),
    "429": Fault(status=429),
    "401": Fault(status=401),
    "403": Fault(status=403),
    "404": Fault(status=404),
    "410": Fault(status=410),
    "no_answer": Fault(hang=True),
    "connections_cut": Fault(reset=True),
    "a_login_page": Fault(garbage=True),
    "empty_lists": Fault(empty=True),
    "slow_watches": Fault(delay_s=2.0),
}


ALIKE = ("503", "429", "403", "connections_cut", "slow_watches")  # like another row: left to `make faults`


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in ALIKE else n for n in FAULTS])
def test_nothing_moves_and_an_edit_made_meanwhile_arrives_afterwards(behind_proxy, name):
    product, proxy = behind_proxy
    master = product.master("web")
    restarts = all_restarts(product)
    with holders(product, ADDRESS) as held:
        with proxy.play(FAULTS[name]):
            began = time.monotonic()
            generation = edit(product)
            time.sleep(SPELL_S)
            asked = {client: len(proxy.since(began, client)) for client in MOST_REQUESTS}
        ended = time.monotonic()
        wait_for(lambda: all_have(product, generation), what="every node carries out the edit", timeout=90, poll=0.1)
        took = time.monotonic() - ended
        wait_for(lambda: product.ready("web"), what="web is Ready", timeout=60, poll=0.1)
        wait_for(lambda: is_back(proxy), what="everybody watches again", timeout=90)
    print(f"asked {asked}; the edit arrived after {took:.1f} s, all was back after {time.monotonic() - ended:.1f} s")
    assert moves(held) == [{master}]
    assert all_restarts(product) == restarts
    assert all(asked[client] <= most for client, most in MOST_REQUESTS.items()), asked
