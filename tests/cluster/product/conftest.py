"""kube-vrrp installed by its chart, from the images of this checkout, on the test cluster.

`KUBE_VRRP_CLUSTER=NAME` uses the running cluster of that name (such as the demo's) instead of starting one.
"""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.embedded import Cluster, builder
from tests.cluster.installation import Installation


@pytest.fixture(scope="session")
def images() -> dict[str, builder.Image]:
    return builder.build_all()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, images: dict[str, builder.Image]) -> Cluster:
    name = os.environ.get("KUBE_VRRP_CLUSTER")
    running: Cluster = Cluster(name, outlives=True) if name else request.getfixturevalue("fresh_cluster")
    for image in images.values():
        running.load_image(image.archive)
    return running


@pytest.fixture(scope="session")
def fresh_cluster() -> Iterator[Cluster]:
    import secrets

    from tests.cluster.embedded import remove_abandoned

    remove_abandoned()
    with Cluster(f"product-{secrets.token_hex(3)}") as running:
        yield running


@pytest.fixture
def product(cluster: Cluster, images: dict[str, builder.Image]) -> Iterator[Installation]:
    """The chart installed with its default values, every speaker ready, no VirtualIP."""
    installation = Installation(cluster, images)
    installation.restore()
    yield installation
    installation.delete_vips()
