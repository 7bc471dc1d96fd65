"""Routers that stand on a test network: ours, keepalived and FRR, started, stopped and killed the same way.

`VirtualRouter` says what a virtual router is, in words that all three understand; each `Peer` turns it into the
configuration of its kind. Nothing here knows what a test wants to see.
"""

from __future__ import annotations

import abc
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml

from tests.netns import CommandError, Host, wait_for

CHECKOUT = Path(__file__).resolve().parent.parent
FRR_DAEMONS = Path("/usr/lib/frr")
# State and logs in memory, as in a pod and under /run: on a disk that is busy, a rename waits for its journal.
RUNTIME_DIRECTORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualRouter:
    """What the routers of one VRID share; `replace(…)` makes a router that differs."""

    addresses: tuple[str, ...]
    name: str = "web"
    vrid: int = 51
    version: int = 3
    priority: int = 100
    interval_ms: int = 1000
    password: str | None = None
    preempt: bool = True
    preempt_delay_s: int = 0
    unicast_peers: tuple[str, ...] = ()
    virtual_mac: bool = False
    interface: str = "eth0"

    @property
    def ipv6(self) -> bool:
        """Whether the election runs over IPv6."""
        return ":" in self.addresses[0]

    def with_(self, **changes: Any) -> VirtualRouter:
        """A copy that differs."""
        return replace(self, **changes)


#: The two hosts of the keepalived tutorials.
TUTORIAL = VirtualRouter(addresses=("192.168.137.200/32",), version=2, priority=210, password="1111")


class Peer(abc.ABC):
    """A router on a host. `start` returns when the process runs, not when an election is over."""

    kind: str

    def __init__(self, host: Host, *routers: VirtualRouter) -> None:
        self.host = host
        self.routers = routers
        self.directory = Path(tempfile.mkdtemp(prefix=f"{host.namespace}-{self.kind}-", dir=RUNTIME_DIRECTORY))
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def configure(self) -> None:
        """Write the configuration for `self.routers`."""

    @abc.abstractmethod
    def command(self) -> list[str]:
        """What is started, in the foreground."""

    def environment(self) -> dict[str, str]:
        """The process' environment."""
        return dict(os.environ)

    @property
    def log_file(self) -> Path:
        """Everything the process printed."""
        return self.directory / "log"

    @property
    def log(self) -> str:
        """Everything the process printed, as text."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        """The process that `start` started."""
        assert self.process is not None, f"{self.kind} on {self.host.name} was never started"
        return self.process.pid

    def start(self) -> Self:
        """Write the configuration and start the process."""
        self.configure()
        self.launch()
        return self

    def launch(self) -> None:
        """Start the process on the configuration that is there."""
        assert self.process is None or self.process.poll() is not None, "already running"
        with self.log_file.open("a") as log:
            self.process = self.host.start(
                *self.command(), stdout=log, stderr=subprocess.STDOUT, env=self.environment()
            )

    def listens(self) -> bool:
        """Whether it has come so far that it hears advertisements; true as soon as it runs where nobody can tell."""
        return True

    def wait_listens(self, *, timeout: float = 20) -> Self:
        """Until `listens`."""
        wait_for(self.listens, what=f"{self.kind} on {self.host.name} listens\n{self.log}", timeout=timeout)
        return self

    def stop(self, *, timeout: float = 10) -> int:
        """SIGTERM, and wait until it is gone; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL for the process and everything below it, as if the machine's owner pulled it out."""
        for pid in (self.pid, *descendants(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    def close(self) -> None:
        """End it whatever its state, and remove its files. The host goes with it, so nothing has to leave in order."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Keepalived(Peer):
    """keepalived, VRRP only, in the foreground."""

    kind = "keepalived"

    def __init__(self, host: Host, *routers: VirtualRouter, text: str | None = None) -> None:
        super().__init__(host, *routers)
        self.text = text

    def configure(self) -> None:
        text = self.text if self.text is not None else keepalived_conf(*self.routers)
        (self.directory / "keepalived.conf").write_text(text)

    def command(self) -> list[str]:
        at = self.directory
        files = ["-f", f"{at}/keepalived.conf", "-p", f"{at}/parent.pid", "-r", f"{at}/vrrp.pid"]
        return ["keepalived", "--vrrp", "--dont-fork", "--log-console", "--log-detail", "--no-syslog", *files]

    def listens(self) -> bool:
        return "VRRP sockpool" in self.log  # printed once its sockets are open


class Frr(Peer):
    """FRR's vrrpd with its zebra. Its virtual addresses live on macvlan links that it keeps down as BACKUP."""

    kind = "frr"

    def __init__(self, host: Host, *routers: VirtualRouter) -> None:
        super().__init__(host, *routers)
        self.zebra: subprocess.Popen[str] | None = None

    def configure(self) -> None:
        (self.directory / "zebra.conf").write_text("")
        (self.directory / "vrrpd.conf").write_text(frr_conf(*self.routers))
        self.host.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.rp_filter=0")
        for number, router in enumerate(self.routers):
            self._macvlan(f"vrrp-{number}-{router.vrid}", router)
        self._give_to_frr()

    def _macvlan(self, link: str, router: VirtualRouter) -> None:
        family = 2 if router.ipv6 else 1
        if self.host.ip("link", "show", link, check=False):
            return
        self.host.ip("link", "add", link, "link", router.interface, "type", "macvlan", "mode", "bridge")
        self.host.ip("link", "set", link, "addrgenmode", "random")
        self.host.ip("link", "set", link, "address", f"00:00:5e:00:{family:02x}:{router.vrid:02x}")
        self.host.run("sysctl", "-qw", f"net.ipv6.conf.{link}.accept_dad=0", f"net.ipv6.conf.{link}.accept_ra=0")
        for address in router.addresses:
            self.host.ip("addr", "add", address, "dev", link, *(["nodad"] if ":" in address else []))
        self.host.ip("link", "set", link, "up")

    def _give_to_frr(self) -> None:
        for path in (self.directory, *self.directory.iterdir()):
            shutil.chown(path, "frr", "frr")

    def _daemon(self, name: str) -> list[str]:
        at = self.directory
        files = ["-f", f"{at}/{name}.conf", "-i", f"{at}/{name}.pid", "-z", f"{at}/zserv.api"]
        return [f"{FRR_DAEMONS}/{name}", *files, "--vty_socket", f"{at}", "-u", "frr", "-g", "frr", "-P", "0"]

    def command(self) -> list[str]:
        return [*self._daemon("vrrpd"), "--log", "stdout"]

    def launch(self) -> None:
        if self.zebra is None or self.zebra.poll() is not None:
            with (self.directory / "zebra.log").open("a") as log:
                self.zebra = self.host.start(*self._daemon("zebra"), stdout=log, stderr=subprocess.STDOUT)
            wait_for((self.directory / "zserv.api").exists, what="zebra serves its clients")
        super().launch()

    def stop(self, *, timeout: float = 10) -> int:
        """Ask for every router's end first: vrrpd itself leaves without priority 0."""
        lines = [line for line in frr_conf(*self.routers).splitlines() if " version " in line]
        undo = [argument for line in lines for argument in ("-c", f"no {line.rsplit(' version ', 1)[0].strip()}")]
        self.vtysh("-c", "configure terminal", "-c", f"interface {self.routers[0].interface}", *undo)
        return super().stop(timeout=timeout)

    def listens(self) -> bool:
        links = self.host.run("ip", "-o", "link", "show", "type", "macvlan").splitlines()
        # until vrrpd has taken them over, its links are up and hold their addresses
        if all("protodown on" in link for link in links):
            return True
        try:
            return any(state["status"] == "Master" for one in self.states() for state in (one["v4"], one["v6"]))
        except CommandError:  # vrrpd does not answer yet
            return False

    def vtysh(self, *arguments: str) -> str:
        """What FRR's shell answers."""
        return self.host.run("vtysh", "--vty_socket", str(self.directory), *arguments)

    def states(self) -> Any:
        """`show vrrp json`."""
        return json.loads(self.vtysh("-c", "show vrrp json"))

    def close(self) -> None:
        super().close()
        if self.zebra is not None:
            self.zebra.kill()
            self.zebra.wait(5)


class KubeVrrp(Peer):
    """Our router, from this checkout, on a directory with one manifest per virtual router."""

    kind = "kube-vrrp"

    def __init__(
        self,
        host: Host,
        *routers: VirtualRouter,
        manifests: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        super().__init__(host, *routers)
        self.manifests = manifests
        self.options = options
        self.config = self.directory / "config"
        self.state = self.directory / "state"

    def configure(self) -> None:
        self.config.mkdir(exist_ok=True)
        self.state.mkdir(exist_ok=True)
        texts = self.manifests if self.manifests is not None else {one.name: manifest(one) for one in self.routers}
        for name, text in texts.items():
            (self.config / f"{name}.yaml").write_text(text)

    def command(self) -> list[str]:
        where = ["--config", str(self.config), "--state-dir", str(self.state), "--node", self.host.name]
        return [sys.executable, "-m", "vip_speaker", "router", *where, *self.options]

    def environment(self) -> dict[str, str]:
        return os.environ | checkout_environment()

    def listens(self) -> bool:
        states = [self.document(file.name.split(".")[0]).get("state") for file in self.state.glob("*.vip.json")]
        return bool(states) and all(state in ("BACKUP", "MASTER") for state in states)

    def replace_manifest(self, router: VirtualRouter) -> None:
        """Put a manifest in place as `mv` does."""
        new = self.config / f".{router.name}.new"
        new.write_text(manifest(router))
        new.rename(self.config / f"{router.name}.yaml")

    def document(self, name: str = "web") -> dict[str, Any]:
        """The state file of one VIP; empty while there is none."""
        try:
            loaded: dict[str, Any] = json.loads((self.state / f"{name}.vip.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return loaded

    def child(self) -> int:
        """The router process below the guard."""
        below = self.below()
        assert below, f"no process below the guard\n{self.log}"
        return below[0]

    def below(self) -> list[int]:
        """The same, or none while the guard starts one anew."""
        return descendants(self.pid)[:1]


KINDS: dict[str, type[Peer]] = {kind.kind: kind for kind in (KubeVrrp, Keepalived, Frr)}


def checkout_environment() -> dict[str, str]:
    """Has a Python process import the packages of this checkout."""
    return {"PYTHONPATH": os.pathsep.join(str(CHECKOUT / part) for part in ("crds", "speaker", "operator"))}


def manifest(router: VirtualRouter) -> str:
    """The VirtualIP document."""
    spec: dict[str, Any] = {
        "addresses": list(router.addresses),
        "interfaces": [router.interface],
        "virtualRouterID": router.vrid,
        "version": router.version,
        "priority": router.priority,
        "advertisementInterval": f"{router.interval_ms}ms"
        if router.interval_ms % 1000
        else f"{router.interval_ms // 1000}s",
        "preempt": router.preempt,
    }
    if router.preempt_delay_s:
        spec["preemptDelay"] = f"{router.preempt_delay_s}s"
    if router.password is not None:
        spec["authentication"] = {"type": "PASS", "password": router.password}
    if router.unicast_peers:
        spec |= {"transport": "Unicast", "unicastPeers": list(router.unicast_peers)}
    if router.virtual_mac:
        spec["virtualMAC"] = True
    document = {"apiVersion": "kube-vrrp.io/v1alpha1", "kind": "VirtualIP", "metadata": {"name": router.name}}
    return yaml.safe_dump(document | {"spec": spec}, sort_keys=False)


def keepalived_conf(*routers: VirtualRouter) -> str:
    """keepalived.conf for the same routers."""
    return "".join([f"global_defs {{\n    vrrp_version {routers[0].version}\n}}\n", *map(_vrrp_instance, routers)])


def _vrrp_instance(router: VirtualRouter) -> str:
    lines = [
        "state BACKUP",
        f"interface {router.interface}",
        f"virtual_router_id {router.vrid}",
        f"priority {router.priority}",
        f"advert_int {router.interval_ms / 1000:g}",
        *([] if router.preempt else ["nopreempt"]),
        *([f"preempt_delay {router.preempt_delay_s}"] if router.preempt_delay_s else []),
        *(["use_vmac"] if router.virtual_mac else []),
    ]
    if router.password is not None:
        lines.append(f"authentication {{\n        auth_type PASS\n        auth_pass {router.password}\n    }}")
    if router.unicast_peers:
        lines.append(_block("unicast_peer", router.unicast_peers))
    main = [one for one in router.addresses if (":" in one) == router.ipv6]
    lines.append(_block("virtual_ipaddress", main))
    if others := [one for one in router.addresses if one not in main]:
        lines.append(_block("virtual_ipaddress_excluded", others))
    return f"vrrp_instance {router.name} {{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def _block(name: str, items: list[str] | tuple[str, ...]) -> str:
    return "\n".join([f"{name} {{", *(f"        {item}" for item in items), "    }"])


def frr_conf(*routers: VirtualRouter) -> str:
    """vrrpd.conf for the same routers; FRR keeps both families of a VRID in one."""
    lines = [f"interface {routers[0].interface}"]
    for router in routers:
        at = f" vrrp {router.vrid}"
        lines += [
            f"{at} version {router.version}",
            f"{at} priority {router.priority}",
            f"{at} advertisement-interval {router.interval_ms}",
            *([] if router.preempt else [f" no vrrp {router.vrid} preempt"]),
            *(f"{at} {'ipv6' if ':' in one else 'ip'} {one.split('/')[0]}" for one in router.addresses),
        ]
    return "\n".join(dict.fromkeys(lines)) + "\n"


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, parents first."""
    found = list(_children(pid))
    return found + [below for one in found for below in descendants(one)]


def _children(pid: int) -> Iterator[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return  # it has ended
    for thread in threads:
        with contextlib.suppress(OSError):
            yield from map(int, re.findall(r"\d+", (thread / "children").read_text()))
