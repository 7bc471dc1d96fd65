"""kube-vrrp installed by its chart, from the images of this checkout, on the test cluster."""

from collections.abc import Iterator

import pytest

from tests.cluster.embedded import Cluster, builder
from tests.cluster.installation import Installation


@pytest.fixture(scope="session")
def installation(cluster: Cluster, product_images: dict[str, builder.Image]) -> Installation:
    return Installation(cluster, product_images)


@pytest.fixture
def product(installation: Installation) -> Iterator[Installation]:
    """The chart installed with its default values, every speaker ready, no VirtualIP."""
    installation.restore()
    yield installation
    installation.delete_vips()
