"""An upgrade to speakers that cannot run: it stops at the first node, says so, and the next upgrade mends it."""

import json

import pytest

from tests.cluster.faults.variants import crashing_speaker
from tests.cluster.faults.witness import holders, moves, serve_first
from tests.cluster.installation import NAMESPACE
from tests.netns import wait_for
from tests.probe import Probe

pytestmark = pytest.mark.cluster

WEB, DB = "192.168.137.220", "192.168.137.221"
DEADLINE_S = 10
SOON = ("--set", f"speaker.progressDeadlineSeconds={DEADLINE_S}")
OPERATORS = ("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator")


@pytest.fixture(scope="module")
def crashing(tmp_path_factory):
    return crashing_speaker(tmp_path_factory.mktemp("crashing"))


def tag(image):
    return "--set-string", f"speaker.image.tag={image.reference.rpartition(':')[2]}"


def an_image_that_does_not_exist(product, request):
    return ("--set-string", "speaker.image.tag=missing"), "waits: ImagePullBackOff, image localhost"


def a_router_that_ends_at_its_start(product, request):
    image = request.getfixturevalue("crashing")
    product.cluster.load_image(image.archive)
    return tag(image), "its container router ended with status 1"


def more_memory_than_any_node_has(product, request):
    resources = "speaker.router.resources"
    return ("--set", f"{resources}.requests.memory=4Ti", "--set", f"{resources}.limits.memory=4Ti"), "Unschedulable: "


def back_to_what_was(product):
    product.rollback()


def on_to_what_runs(product):
    product.install("--set-string", "speaker.podAnnotations.mended=yes")


@pytest.mark.parametrize(
    ("broken", "mend"),
    [
        (an_image_that_does_not_exist, back_to_what_was),
        (a_router_that_ends_at_its_start, on_to_what_runs),
        (more_memory_than_any_node_has, back_to_what_was),
    ],
)
def test_broken_speakers_stop_at_one_node_that_is_no_master_and_the_next_upgrade_begins_there(
    product, request, broken, mend
):
    values, why = broken(product, request)
    masters = {serve_first(product, "web", WEB), serve_first(product, "db", DB)}
    assert len(masters) == 2
    (spare,) = {node.name for node in product.cluster.nodes} - masters
    before = product.speakers()

    with holders(product, WEB) as web, holders(product, DB) as db:
        product.install(*SOON, *values)
        wait_for(lambda: stalled(product), what="the stall is said", timeout=DEADLINE_S + 60, poll=0.5)
        assert not others_touched(product, before, spare)
        broken_pod = product.speakers()[spare]["metadata"]["name"] if why != "Unschedulable: " else pending(product)
        for name in ("web", "db"):
            message = product.condition(name, "Degraded")[2]
            assert message.startswith(f"the rollout of the speakers waits for {spare}: "), message
            assert broken_pod in message, message
            assert why in message, message
        assert (moves(web), moves(db)) == ([{product.master("web")}], [{product.master("db")}])

        new_operators_come_to_the_same_word(product)
        assert not others_touched(product, before, spare)
        assert (moves(web), moves(db)) == ([{product.master("web")}], [{product.master("db")}])

        known = uids(before) | uids(product.speakers())
        with Probe(product.cluster.host("client"), WEB) as asked, Probe(product.cluster.host("client"), DB) as beside:
            mend(product)
            product.wait_for_speakers()
        assert (asked.lost, beside.lost) == (0, 0), (asked.sent, web.spells(), beside.sent, db.spells())
        order = replaced(product, known)
        assert order[0] == spare
        assert set(order[1:]) == (masters if mend is on_to_what_runs else set())
        for name in ("web", "db"):
            product.settled(name)
            wait_for(lambda n=name: product.condition(n, "Degraded")[1] == "AllNodesWell", what="it is well again")
    assert set() not in moves(web) + moves(db)


def stalled(product):
    return all(product.condition(name, "Degraded")[:2] == ("True", "RolloutStalled") for name in ("web", "db"))


def pending(product):
    """The one pod of ours that found no node."""
    pods = product.cluster.get("pods", "-n", NAMESPACE, "--field-selector=status.phase=Pending")["items"]
    (pod,) = [p for p in pods if "nodeName" not in p["spec"]]
    return pod["metadata"]["name"]


def others_touched(product, before, spare):
    """The nodes beside `spare` whose pod is another one, or restarted a container."""
    now = product.speakers()
    return [n for n in before if n != spare and (n not in now or identity(now[n]) != identity(before[n]))]


def identity(pod):
    return pod["metadata"]["uid"], [c["restartCount"] for c in pod["status"]["containerStatuses"]]


def new_operators_come_to_the_same_word(product):
    """They know of no former one: what it wrote about the stall is wiped before they start."""
    said = {name: word(product, name) for name in ("web", "db")}
    product.cluster.kubectl("scale", "deployment/kube-vrrp-operator", "-n", NAMESPACE, "--replicas=0")
    wait_for(lambda: not product.cluster.get(*OPERATORS)["items"], what="no operator runs", timeout=60, poll=0.3)
    for name in said:
        conditions = [c for c in product.status(name)["conditions"] if c["type"] != "Degraded"]
        wipe = f'[{{"op": "replace", "path": "/status/conditions", "value": {json.dumps(conditions)}}}]'
        product.cluster.kubectl("patch", "vip", name, "--subresource=status", "--type=json", f"--patch={wipe}")
    product.cluster.kubectl("scale", "deployment/kube-vrrp-operator", "-n", NAMESPACE, "--replicas=2")
    wait_for(lambda: product.condition("web", "Degraded")[0], what="a new operator judges", timeout=60, poll=0.1)
    # the first word it has, not one that it comes to after waiting for as long as the first one did
    wait_for(lambda: product.condition("db", "Degraded")[0], what="about both", timeout=5, poll=0.1)
    assert {name: word(product, name) for name in said} == said


def word(product, name):
    """Without what is said after it: a speaker that ends again and again is heard of in turn, and not."""
    status, reason, message = product.condition(name, "Degraded")
    return status, reason, message.partition("; ")[0]


def uids(pods):
    return {pod["metadata"]["uid"] for pod in pods.values()}


def replaced(product, known):
    """The nodes whose pods are none of the `known`, in the order in which they were made, seconds apart."""
    new = {n: p["metadata"] for n, p in product.speakers().items() if p["metadata"]["uid"] not in known}
    return sorted(new, key=lambda n: new[n]["creationTimestamp"])
