"""A whole Kubernetes in one machine, for tests and `make demo`: real kubelets, nothing mocked.

`Cluster` is what others use; the modules below it each know one thing. Nothing is left on the host after `down`.
"""

from tests.cluster.embedded.cluster import Cluster, remove_abandoned

__all__ = ["Cluster", "remove_abandoned"]
