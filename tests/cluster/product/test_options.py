"""VirtualIPs that ask for more than an address."""

import pytest

from tests.cluster.embedded.command import run
from tests.cluster.installation import NAMESPACE
from tests.netns import wait_for

pytestmark = pytest.mark.cluster


def test_unicast_peers_find_each_other(product):
    product.serve("web", "192.168.137.220", transport="Unicast", virtualRouterID=60)
    addresses = {n.address for n in product.cluster.nodes}
    assert {e["primaryAddress"] for e in product.status("web")["nodes"]} == addresses


def test_a_password_from_a_secret_is_waited_for_and_used(product):
    missing = "SecretMissing: kube-vrrp's namespace has no Secret vrrp with the key password"
    authentication = {"type": "PASS", "passwordSecretRef": {"name": "vrrp", "key": "password"}}
    product.apply("web", "192.168.137.220", version=2, virtualRouterID=61, authentication=authentication)
    wait_for(
        lambda: [e.get("reason") for e in product.status("web").get("nodes", ())] == [missing] * 3,
        what="every node waits for the password",
        timeout=30,
    )
    wait_for(lambda: product.condition("web", "Ready")[1] == "SecretMissing", what="Ready says so", timeout=30)
    product.cluster.kubectl("-n", NAMESPACE, "create", "secret", "generic", "vrrp", "--from-literal=password=hunter2")
    try:
        product.settled("web")
        master = product.cluster.node(product.master("web"))
        sniff = ["timeout", "10", "tcpdump", "-lnvvi", "eth0", "-c1", "ip proto 112"]
        seen = run("ip", "netns", "exec", product.cluster.client_namespace, *sniff)
        assert "authtype simple" in seen
        assert master.address in seen
    finally:
        product.cluster.kubectl("-n", NAMESPACE, "delete", "secret", "vrrp")


def test_checks_that_the_chart_does_not_enable_fail_and_say_what_they_need(product):
    track = [
        {"name": "daemon", "weight": -10, "process": {"name": "pause"}},
        {"name": "look", "weight": -10, "script": {"name": "look"}},
        {"name": "number", "weight": -10, "file": {"path": "/etc/hostname", "exists": True}},
    ]
    product.serve("web", "192.168.137.220", track=track)
    status, reason, message = product.condition("web", "Degraded")
    assert (status, reason) == ("True", "ChecksNotEnabled")
    assert all(value in message for value in ("speaker.hostPID", "speaker.scripts.enabled", "speaker.hostFiles"))
    wait_for(
        lambda: {e["effectivePriority"] - e["priority"] for e in product.status("web")["nodes"]} == {-30},
        what="each check is failed on each node", timeout=30, poll=0.2,
    )  # fmt: skip
    said = [e["reason"] for e in product.status("web")["nodes"]]
    assert all("speaker.hostPID" in s and "speaker.scripts" in s and "speaker.hostFiles" in s for s in said), said
