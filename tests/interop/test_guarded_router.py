"""The whole speaker, guard and router, killed and frozen while it is MASTER; its BACKUP's log is the witness."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import vip_api
import vip_speaker

from tests.netns import Host, Network, wait_for

pytestmark = pytest.mark.netns

PACKAGES = os.pathsep.join(str(Path(package.__file__).parents[1]) for package in (vip_speaker, vip_api))
ENVIRONMENT = os.environ | {"PYTHONPATH": PACKAGES}
SPEAKER = (sys.executable, "-m", "vip_speaker")
VIP = "10.9.0.100"
MANIFEST = """\
apiVersion: kube-vrrp.io/v1alpha1
kind: VirtualIP
metadata: {{name: web}}
spec:
  addresses: [{vip}]
  interfaces: [eth0]
  virtualRouterID: 51
  advertisementInterval: 500ms
  priority: {priority}
"""


class Speaker:
    """`vip-speaker router` on a host."""

    def __init__(self, host: Host, directory: Path, *, priority: int) -> None:
        self.host = host
        self.state = directory / f"{host.name}-state"
        self._log = directory / f"{host.name}.log"
        manifest = directory / f"{host.name}.yaml"
        manifest.write_text(MANIFEST.format(vip=VIP, priority=priority))
        with self._log.open("w") as log:
            self.guard = host.start(
                *SPEAKER, "router", "--config", str(manifest), "--state-dir", str(self.state), "--node", host.name,
                stdout=log, env=ENVIRONMENT,
            )  # fmt: skip

    def router(self) -> int:
        """The pid of the guard's child."""
        return int(Path(f"/proc/{self.guard.pid}/task/{self.guard.pid}/children").read_text().split()[0])

    def log(self) -> str:
        return self._log.read_text()

    def status(self) -> dict[str, object]:
        """What `vip-speaker status` says of the VIP; empty without."""
        done = subprocess.run(
            [*SPEAKER, "status", "--state-dir", str(self.state), "-o", "json"],
            capture_output=True, text=True, timeout=60, check=False, env=ENVIRONMENT,
        )  # fmt: skip
        documents = json.loads(done.stdout) if done.returncode == 0 else []
        return documents[0] if documents else {}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Speaker, Speaker]]:
    """A MASTER and its BACKUP."""
    with Network() as network:
        hosts = network.host("a", "10.9.0.1/24"), network.host("b", "10.9.0.2/24")
        first, second = (Speaker(host, tmp_path, priority=p) for host, p in zip(hosts, (210, 200), strict=True))
        wait_for(lambda: first.host.has(VIP), what="the first is MASTER", timeout=60)
        wait_for(lambda: second.status().get("master") == "10.9.0.1", what="the second hears it", timeout=60)
        wait_for(lambda: not second.host.has(VIP), what="the second does not hold it, however they started")
        yield first, second


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_vip_moves_without_a_second_holder(pair: tuple[Speaker, Speaker], how: signal.Signals) -> None:
    first, second = pair
    was, before = first.router(), len(second.log())
    os.kill(was, how)
    wait_for(lambda: "BACKUP → MASTER" in second.log()[before:], what="the second is MASTER", timeout=60)
    # The guard sends priority 0 when the address is gone (tests/unit/vip_speaker/test_guard.py); this is the witness
    # that the second heard it before the master-down interval was over. Timestamps of two processes prove less: on a
    # busy machine they are milliseconds off.
    assert "BACKUP → MASTER, 10.9.0.1 gave up" in second.log()[before:]
    wait_for(lambda: first.host.has(VIP) and not second.host.has(VIP), what="its new router takes it back", timeout=60)
    assert first.router() != was


def test_a_killed_guard_costs_no_second_holder_either(pair: tuple[Speaker, Speaker]) -> None:
    """The router leaves by itself, as on SIGTERM; nobody starts it again but the service manager."""
    first, second = pair
    router = first.router()
    first.guard.kill()
    wait_for(lambda: second.host.has(VIP) and not first.host.has(VIP), what="the VIP has moved")
    wait_for(lambda: not Path(f"/proc/{router}").exists(), what="the router has left")
    assert "BACKUP → MASTER, 10.9.0.1 gave up" in second.log()
    assert first.status() == {}, "status does not show what a router that ended has left"


def test_a_bad_file_ends_the_guard_with_status_2(tmp_path: Path) -> None:
    manifest = tmp_path / "bad.yaml"
    manifest.write_text(MANIFEST.format(vip=VIP, priority=300))
    with Network() as network:
        host = network.host("a", "10.9.0.1/24")
        guard = host.start(
            *SPEAKER, "router", "--config", str(manifest), "--state-dir", str(tmp_path / "state"), env=ENVIRONMENT
        )
        assert guard.wait(60) == 2
