"""Operators that are two, or dead in the midst of their work: one writer, no VRID twice, no half state that stays."""

import pytest

from tests.cluster.faults.witness import ACCOUNTS, holders, moves, serve_first, writer, writes
from tests.cluster.installation import NAMESPACE, is_ready
from tests.netns import wait_for

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"
OPERATOR = f"{ACCOUNTS}kube-vrrp-operator"
SELECTOR = "app.kubernetes.io/component=operator"


def operators(product):
    return product.cluster.get("pods", "-n", NAMESPACE, "-l", SELECTOR)["items"]


def kill_operators(product):
    product.cluster.kubectl(
        "delete", "pod", "-n", NAMESPACE, "-l", SELECTOR, "--grace-period=0", "--force", "--wait=false"
    )


def trespasses(events):
    """What an operator wrote although the lease was another's by then."""
    holder, found = None, []
    for event in events:
        if event["user"].get("username") != OPERATOR or event["responseStatus"]["code"] >= 300:
            continue
        reference = event["objectRef"]
        if reference["resource"] == "leases":
            holder = writer(event)
        elif reference["resource"] != "events" and holder is not None and writer(event) != holder:
            found.append((holder, writer(event), event["requestURI"]))
    return found


def test_two_operators_and_both_killed_again_and_again_while_virtual_ips_come(product):
    master = serve_first(product, "web", ADDRESS)
    begun = len(writes(product))
    names = []
    with holders(product, ADDRESS) as held:
        for turn in range(3):
            for index in range(3):
                name = f"more-{turn}-{index}"
                product.apply(name, f"192.168.137.{230 + 3 * turn + index}")
                names.append(name)
            if turn != 1:
                kill_operators(product)
        for name in names:
            wait_for(lambda name=name: product.ready(name), what=f"{name} is Ready", timeout=120, poll=0.3)
        for name in names:
            product.settled(name)
    statuses = [product.status(name) for name in [*names, "web"]]
    vrids = [status["virtualRouterID"] for status in statuses]
    assert len(set(vrids)) == len(vrids)
    assert moves(held) == [{master}]
    done = writes(product)[begun:]
    writers = {writer(e) for e in done if e["user"]["username"] == OPERATOR}
    assert len(writers) > 1, "no other operator took over"
    assert trespasses(done) == []
    wait_for(lambda: all(is_ready(p) for p in operators(product)), what="both operators are ready", timeout=120)
