"""Versions side by side: definition, operators and speakers of the next release with those of this one, and back."""

import json
from contextlib import contextmanager

import pytest

from tests.cluster.faults.variants import next_release
from tests.cluster.faults.witness import holders, moves, serve_first
from tests.cluster.installation import NAMESPACE, Installation
from tests.netns import wait_for
from tests.probe import Probe

pytestmark = [pytest.mark.cluster, pytest.mark.slow]  # two more images are built

DEFINITION = "virtualips.kube-vrrp.io"
ADDRESS, MORE = "192.168.137.220", "192.168.137.221"
CARRIER = {"name": "link", "carrier": {"name": "eth0"}, "weight": -10}
IGNORED = "ignored: a newer kube-vrrp has this field"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return next_release(tmp_path_factory.mktemp("next"))


@pytest.fixture
def newer(product, release):
    """The next release, for the cluster on which this one runs; afterwards this one again."""
    product.cluster.load_image(release.images["operator"].archive)
    leave_the_definition_to_helm(product)
    yield Installation(product.cluster, release.images, release.chart)
    product.delete_vips()  # what only the next release knows is not to outlive it
    product.install()
    product.wait_for_speakers()
    speaker = release.images["speaker"]
    product.cluster.unload_image(speaker.archive, speaker.reference)  # which node has it is for each test to say


def leave_the_definition_to_helm(product):
    """Other tests patch it by kubectl, and Helm does not overwrite what it does not own."""
    managed = product.cluster.get("crd", DEFINITION, "--show-managed-fields")["metadata"]["managedFields"]
    kept = [m for m in managed if not m["manager"].startswith("kubectl")]
    patch = [{"op": "replace", "path": "/metadata/managedFields", "value": kept}]
    product.cluster.kubectl("patch", "crd", DEFINITION, "--type=json", f"--patch={json.dumps(patch)}")


def test_old_routers_beside_new_ones_say_what_they_do_not_know_and_nothing_moves(product, newer, release):
    """The image of the new speakers is on one node only: the rollout renews that node, and stalls at the next."""
    master = serve_first(product, "web", ADDRESS)
    renewed, broken = sorted({node.name for node in product.cluster.nodes} - {master})
    product.cluster.node(renewed).load_image(release.images["speaker"].archive)
    with holders(product, ADDRESS) as held, holders(product, MORE) as more:
        newer.install("--set", "speaker.progressDeadlineSeconds=10")
        wait_for(lambda: says(product, "Degraded", "RolloutStalled"), what="it stalls", timeout=120, poll=0.5)
        assert f"waits for {broken}: " in product.condition("web", "Degraded")[2]

        product.apply("web", ADDRESS, colour="red")
        carried_out(product, master, renewed)
        assert f"spec.colour: {IGNORED}" in entry(product, master)["reason"]
        assert "spec." not in entry(product, renewed)["reason"]

        product.apply("web", ADDRESS, addresses=[ADDRESS, MORE], colour="red", track=[CARRIER])
        carried_out(product, renewed)
        wait_for(lambda: "carrier" in entry(product, master)["reason"], what="the old router names it", timeout=30)
        assert f"spec.track[0].carrier: {IGNORED}" in entry(product, master)["reason"]
        assert entry(product, master)["observedGeneration"] == generation(product) - 1
        assert moves(held) == [{master}]
        assert moves(more) == [set()]  # the whole document before it is in force

        product.cluster.load_image(release.images["speaker"].archive)
        with nothing_lost(product, master):
            product.cluster.kubectl("delete", "pod", product.speakers()[broken]["metadata"]["name"], "-n", NAMESPACE)
            all_new(newer, master)
        carried_out(product, master, renewed, broken)
        assert not [n for n in (master, renewed, broken) if "spec." in entry(product, n)["reason"]]
        wait_for(lambda: says(product, "Degraded", "AllNodesWell"), what="it is well again")
        wait_for(lambda: more.now == held.now == {master}, what="the master serves both")


def test_the_next_release_and_the_way_back_lose_no_packet_and_the_new_field_is_gone(product, newer, release):
    product.cluster.load_image(release.images["speaker"].archive)
    master = serve_first(product, "web", ADDRESS)
    with nothing_lost(product, master):
        newer.install()
        all_new(newer, master)
    product.apply("web", ADDRESS, colour="red", priority=200)
    everybody = [node.name for node in product.cluster.nodes]
    carried_out(product, *everybody)
    assert product.cluster.get("vip", "web")["spec"]["colour"] == "red"
    with nothing_lost(product, master):
        newer.rollback()
        assert "colour" not in product.cluster.get("vip", "web")["spec"]
        all_new(product, master)
    carried_out(product, *everybody)  # of the same generation, which lacks nothing but what nobody knows any more
    assert max(e["priority"] for e in product.status("web")["nodes"]) == 200
    for kind, reason in (("Accepted", "Accepted"), ("Ready", "MasterElected"), ("Degraded", "AllNodesWell")):
        wait_for(lambda k=kind, r=reason: says(product, k, r), what=f"{kind} says {reason}", timeout=30, poll=0.2)
    newer.install()
    assert "colour" not in product.cluster.get("vip", "web")["spec"]  # for good: the status was written meanwhile


def test_the_way_back_with_a_check_that_only_the_next_release_knows_stops_and_serves(product, newer, release):
    product.cluster.load_image(release.images["speaker"].archive)
    product.install("--set", "speaker.progressDeadlineSeconds=10")
    newer.install()
    newer.wait_for_speakers()
    master = serve_first(product, "web", ADDRESS, track=[CARRIER])
    new = product.speakers()
    with holders(product, ADDRESS) as held:
        newer.rollback()
        wait_for(lambda: says(product, "Degraded", "RolloutStalled"), what="it stalls", timeout=120, poll=0.5)
        status, reason, message = product.condition("web", "Accepted")
        assert (status, reason) == ("False", "Invalid")
        assert "spec.track[0]" in message
        (replaced,) = [n for n, p in product.speakers().items() if p["metadata"]["uid"] != new[n]["metadata"]["uid"]]
        assert f"waits for {replaced}: VirtualIP web is not served" in product.condition("web", "Degraded")[2]
        assert moves(held) == [{master}]
    with nothing_lost(product, master):
        product.apply("web", ADDRESS)
        all_new(product, master)
    carried_out(product, *new)
    wait_for(lambda: says(product, "Degraded", "AllNodesWell"), what="it is well again")


@contextmanager
def nothing_lost(product, master):
    """One client asks a thousand times a second; the address begins and ends at `master`, at no moment at nobody."""
    with Probe(product.cluster.host("client"), ADDRESS) as probe, holders(product, ADDRESS) as held:
        yield
    assert probe.lost == 0, f"{probe.lost} of {probe.sent} lost, silence {probe.silence_ms:.0f} ms: {held.spells()}"
    assert moves(held)[0] == moves(held)[-1] == {master}
    assert set() not in moves(held)


def all_new(installed, master):
    """Until every speaker is of this release, and the master, which comes last, has the address again."""
    installed.wait_for_speakers()
    wait_for(lambda: installed.master("web") == master, what="the master takes it back", timeout=60)
    installed.settled("web")


def entry(product, node):
    return next(e for e in product.status("web")["nodes"] if e["node"] == node)


def generation(product):
    return product.cluster.get("vip", "web")["metadata"]["generation"]


def says(product, kind, reason):
    return product.condition("web", kind)[1] == reason


def carried_out(product, *nodes):
    """Until the operator has accepted the document as it is, and these nodes have it."""

    def done():
        conditions = {c["type"]: c for c in product.status("web")["conditions"]}
        accepted, wanted = conditions["Accepted"], generation(product)
        told = {entry(product, n).get("observedGeneration") for n in nodes}
        return (accepted["status"], accepted["observedGeneration"], told) == ("True", wanted, {wanted})

    wait_for(done, what=f"accepted, and carried out by {', '.join(nodes)}", timeout=30, poll=0.2)
