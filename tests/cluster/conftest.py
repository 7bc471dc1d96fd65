"""One cluster for all tests of a session; `KUBE_VRRP_CLUSTER=NAME` takes a running one, such as the demo's."""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.cluster.embedded import Cluster, builder, preflight, remove_abandoned
from tests.cluster.installation import Installation


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three nodes, with the product's images where a test of the session wants them."""
    wanted = any("product_images" in getattr(item, "fixturenames", ()) for item in request.session.items)
    images = request.getfixturevalue("product_images").values() if wanted else ()
    archives = [image.archive for image in images]
    if name := os.environ.get("KUBE_VRRP_CLUSTER"):
        running = Cluster(name, outlives=True)
        for archive in archives:
            running.load_image(archive)
        yield running
        return
    remove_abandoned()
    new = Cluster(f"test-{secrets.token_hex(3)}")
    new.up(archives=archives)
    try:
        yield new
    finally:
        new.down()


@pytest.fixture(scope="session")
def product_images() -> dict[str, builder.Image]:
    """The images of this checkout, built by its Dockerfile; load them with `cluster.load_image(image.archive)`."""
    preflight.check()
    return builder.build_all()


@pytest.fixture(scope="session")
def installation(cluster: Cluster, product_images: dict[str, builder.Image]) -> Installation:
    """kube-vrrp's chart, from the images of this checkout, for the cluster."""
    return Installation(cluster, product_images)


@pytest.fixture
def product(installation: Installation) -> Iterator[Installation]:
    """The chart installed with its default values, every speaker ready, no VirtualIP."""
    installation.restore()
    yield installation
    installation.delete_vips()
