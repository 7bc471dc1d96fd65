import secrets
from collections.abc import Iterator

import pytest

from tests.cluster.embedded import Cluster, builder, preflight, remove_abandoned


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three nodes, shared by the tests of a session. Fails, with the reason, where the machine cannot run it."""
    remove_abandoned()
    with Cluster(f"test-{secrets.token_hex(3)}") as running:
        yield running


@pytest.fixture(scope="session")
def product_images() -> dict[str, builder.Image]:
    """The images of this checkout, built by its Dockerfile; load them with `cluster.load_image(image.archive)`."""
    preflight.check()
    return builder.build_all()
