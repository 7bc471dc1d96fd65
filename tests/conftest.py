"""How tests are shared out where they run in several processes (`make test`): there is one cluster, so one process."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling


class ClusterInOneProcess(LoadScopeScheduling):
    """Every test goes to the next process that is free, but those of the cluster all to one, first of all."""

    def _split_scope(self, nodeid: str) -> str:
        return "cluster" if nodeid.startswith("tests/cluster/") else nodeid


def pytest_xdist_make_scheduler(config: Any, log: Any) -> ClusterInOneProcess:
    return ClusterInOneProcess(config, log)
