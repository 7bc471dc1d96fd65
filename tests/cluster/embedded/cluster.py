"""`Cluster`: a whole Kubernetes in one machine, from its start to nothing being left of it."""

import contextlib
import functools
import ipaddress
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from tests.cluster.embedded import binaries, cgroups, containerd, images, preflight
from tests.cluster.embedded.certificates import Authority
from tests.cluster.embedded.command import CACHE, locked, run, say
from tests.cluster.embedded.control_plane import ControlPlane, free_port
from tests.cluster.embedded.machine import Machine
from tests.cluster.embedded.network import CLIENT, CONTROL_PLANE, FIRST_NODE, Lan
from tests.cluster.embedded.node import Node, pod_range
from tests.netns import Host, Network, wait_for

DEFAULT_SUBNET = "192.168.137.0/24"
CLUSTERS = CACHE / "clusters"
MAX_NODES = 50


def remove_abandoned() -> None:
    """Remove the clusters of this checkout whose owner, the process that started them, has ended without doing so."""
    with locked("abandoned"):  # two that start at a time must not both remove one
        for record in CLUSTERS.glob("*/cluster.json"):
            owner = json.loads(record.read_text())["owner"]
            if owner is not None and owner != _process_mark(owner["pid"]):
                say(f"removing {record.parent.name}, which its owner left behind")
                Cluster(record.parent.name).down()


def _process_mark(pid: int) -> dict[str, Any] | None:
    """What tells this process from every other, also from a later one with the same ID; None when there is none."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"pid": pid, "start": after_name[19], "boot": boot}


def _is_empty(netns: str) -> bool:
    return not run("ip", "netns", "pids", netns)


class Cluster:
    """One cluster in the folder `.cache/clusters/NAME`; the name is unique on this machine.

    As a context manager it starts on entry and is gone after. `Cluster(name)` of a cluster that runs already
    (its folder has a record) goes on with that one.
    """

    def __init__(self, name: str, nodes: int = 3, *, subnet: str = DEFAULT_SUBNET, outlives: bool = False) -> None:
        """`outlives`: the cluster goes on when this process ends, and only `down` removes it."""
        assert 1 <= nodes <= MAX_NODES
        self.name = name
        self.folder = CLUSTERS / name
        self._record = self.folder / "cluster.json"
        owner = None if outlives else _process_mark(os.getpid())
        record: dict[str, Any] = {
            "nodes": list(range(nodes)), "archives": [], "subnet": subnet, "port": 0, "owner": owner,
        }  # fmt: skip
        if self._record.exists():
            record = json.loads(self._record.read_text())
        self._settings = record
        self.lan = Lan(name=name, subnet=ipaddress.IPv4Network(record["subnet"]))
        self.client_namespace = self.lan.netns_of("client")
        self.kubeconfig = self.folder / "kubeconfig"
        self.binaries = CACHE / "bin"
        self._started = time.monotonic()
        self.nodes: Sequence[Node] = [self._new_node(index) for index in record["nodes"]]
        self._control = self._machine("control-plane")

    # -- start and end

    def up(self, *, archives: Sequence[Path] = ()) -> Self:
        """Start everything and wait until all nodes are Ready; `archives` are images to load on each node."""
        preflight.check()
        self.binaries = binaries.build()
        tools = images.tools_archive()
        self._started = time.monotonic()
        self.folder.mkdir(parents=True)
        self._settings["port"] = free_port()
        self._keep(archives=[*map(str, (tools, *archives))])
        try:
            self._start()
        except BaseException:
            self._say("could not start; removing what there is (logs are kept until the next try)")
            self.down(keep_logs=True)
            raise
        return self

    def _start(self) -> None:
        cgroups.create(self.name)
        cgroups.share(self.name, machines=1 + len(self.nodes))
        self.lan.up()
        self.lan.plug_in("client", CLIENT)
        self.lan.plug_in("control-plane", CONTROL_PLANE)
        for node in self.nodes:
            self._route(self._control.netns, node)
        authority = Authority(self._control.folder / "pki")
        control = ControlPlane(
            self._control, authority, address=self.lan.address(CONTROL_PLANE), port=self._settings["port"]
        )
        self._control.power_on()
        control.prepare()
        authority.kubeconfig(
            self.kubeconfig, server=f"https://127.0.0.1:{control.port}", user="admin", group="system:masters"
        )
        self._say(f"network and certificates are there; starting the control plane and {len(self.nodes)} nodes")
        control.start_forwarder()

        run("ip", "netns", "add", self.lan.netns_of("images"))

        def boot(node: Node, store: Future[Path]) -> None:
            node.configure(authority, server=control.server)
            node.boot(self._routes(node), images=store.result())

        with ThreadPoolExecutor(max_workers=4) as pool:
            store = pool.submit(self._images)
            booted = [pool.submit(boot, node, store) for node in self.nodes]
            control.start_api()
            self._say("the API server is ready")
            control.start_controllers()
            for node, future in zip(self.nodes, booted, strict=True):
                future.result()
                node.start()
        self.wait_ready()
        self._say(f"{len(self.nodes)} nodes are Ready")

    def down(self, *, keep_logs: bool = False) -> None:
        """Remove everything, whatever state it is in; also works from another process and after a crash."""
        for machine in (self._control, *(node.machine for node in self.nodes)):
            machine.power_off()
        self._end_strays()
        self.lan.down()
        cgroups.remove(self.name)
        if keep_logs:
            kept = CACHE / "logs" / self.name
            shutil.rmtree(kept, ignore_errors=True)
            for machine in (self._control, *(node.machine for node in self.nodes)):
                if (machine.folder / "log").exists():
                    shutil.copytree(machine.folder / "log", kept / machine.hostname, symlinks=True)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _end_strays(self) -> None:
        """End what still runs in the cluster's namespaces, such as a capture that a test left."""
        for netns in self.lan.namespaces():
            for pid in run("ip", "netns", "pids", netns).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            wait_for(functools.partial(_is_empty, netns), what=f"{netns} is empty")

    @property
    def runs(self) -> bool:
        """Whether every machine of it is on."""
        return self.exists and all(each.pid for each in (self._control, *(node.machine for node in self.nodes)))

    @property
    def exists(self) -> bool:
        """Whether a cluster of this name was started and not removed."""
        return self._record.exists()

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # -- what tests do with it

    def kubectl(self, *arguments: str, stdin: str = "", timeout_s: float = 300) -> str:
        """Run kubectl as administrator; what it printed."""
        return run(str(self.binaries / "kubectl"), *arguments, stdin=stdin, env=self.environment, timeout_s=timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 300) -> str:
        """Run helm as administrator; what it printed."""
        return run(str(self.binaries / "helm"), *arguments, env=self.environment, timeout_s=timeout_s)

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get ... -o json`, parsed."""
        return dict(json.loads(self.kubectl("get", *arguments, "-o", "json")))

    def apply(self, *objects: dict[str, Any]) -> str:
        """`kubectl apply` of objects."""
        return self.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(each) for each in objects))

    def host(self, name: str) -> Host:
        """A host of the link (`client`, or a node's name) as the tests' probes and captures want it."""
        return Host(cast(Network, self.lan), name)  # of a network it asks the prefix of its namespaces' names

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which kubectl, helm and the Kubernetes client find this cluster."""
        own = {
            "KUBECONFIG": str(self.kubeconfig),
            "HELM_CACHE_HOME": str(self.folder / "helm" / "cache"),
            "HELM_CONFIG_HOME": str(self.folder / "helm" / "config"),
            "HELM_DATA_HOME": str(self.folder / "helm" / "data"),
            "KUBECACHEDIR": str(self.folder / "kubectl"),
            "NO_PROXY": ",".join(["127.0.0.1", *filter(None, [os.environ.get("NO_PROXY")])]),
        }
        return {**os.environ, **own}

    def node(self, name: str) -> Node:
        """The node of this name."""
        return next(node for node in self.nodes if node.name == name)

    def wait_ready(self, *names: str, timeout: float = 240) -> None:
        """Wait until these nodes (all, when none is named) are Ready."""
        wanted = set(names) or {node.name for node in self.nodes}
        condition = "{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=='Ready')].status} {end}"

        def ready() -> bool:
            answer = self.kubectl("get", "nodes", "-o", f"jsonpath={condition}")
            return wanted <= {entry.partition("=")[0] for entry in answer.split() if entry.endswith("=True")}

        wait_for(ready, what=f"{', '.join(sorted(wanted))} Ready", timeout=timeout, poll=0.3)

    def cut_link(self, node: str, *, silently: bool = False) -> None:
        """Pull the node's cable; silently: its carrier stays and the switch forwards nothing."""
        self.lan.cut(node, silently=silently)

    def restore_link(self, node: str) -> None:
        """Undo `cut_link`."""
        self.lan.mend(node)

    def stop_api(self) -> None:
        """Kill the API server; its address refuses connections from then on."""
        self._control.stop("kube-apiserver")

    def start_api(self) -> None:
        """Start the API server again and wait until it is ready."""
        self._control_plane().start_api()

    def save_store(self) -> Path:
        """A backup of etcd; the API server ends for it and is started again."""
        backup = self.folder / f"etcd-backup-{time.monotonic_ns()}"
        with self._control_plane().store_at_rest() as data:
            shutil.copytree(data, backup)
        return backup

    def restore_store(self, backup: Path) -> None:
        """Set etcd back: what was written since is forgotten, and its versions are given out again."""
        with self._control_plane().store_at_rest() as data:
            shutil.rmtree(data)
            shutil.copytree(backup, data)

    def restart_components(self) -> None:
        """What Kubernetes asks an administrator for after `restore_store`: its own components would wait for versions
        to come. Pods run on.
        """
        self._control_plane().restart_controllers()
        for node in self.nodes:
            node.restart()

    def power_off(self, node: str) -> None:
        """Cut the node's power: its processes and addresses vanish at once."""
        self.node(node).shut_down()

    def power_on(self, node: str) -> None:
        """Boot a node that was powered off; its disk is as it was, its memory is not. Does not wait for Ready."""
        booted = self.node(node)
        booted.boot(self._routes(booted))
        booted.start()

    def add_node(self) -> Node:
        """Plug another node in, with every image that the others were given, and wait until it is Ready."""
        index = next(i for i in range(MAX_NODES) if i not in self._settings["nodes"])
        node = self._new_node(index)
        self._keep(nodes=[*self._settings["nodes"], index])
        self.nodes = [*self.nodes, node]
        cgroups.share(self.name, machines=1 + len(self.nodes))
        try:
            control = self._control_plane()
            node.configure(control.authority, server=control.server)
            node.boot(self._routes(node), images=self._images())
            for netns in self._neighbours(node):
                self._route(netns, node)
            node.start()
            self.wait_ready(node.name)
        except BaseException:
            self.remove_node(node.name)
            raise
        return node

    def remove_node(self, name: str) -> None:
        """Cut a node's power for good and delete its Node object; to drain it before is the caller's part."""
        node = self.node(name)
        node.shut_down()
        self.kubectl("delete", "node", name, "--ignore-not-found")
        for netns in self._neighbours(node):
            run("ip", "-n", netns, "route", "flush", "exact", pod_range(node.index))
        shutil.rmtree(node.machine.folder, ignore_errors=True)
        self.nodes = [other for other in self.nodes if other is not node]
        cgroups.share(self.name, machines=1 + len(self.nodes))
        self._keep(nodes=[other.index for other in self.nodes])

    def load_image(self, archive: Path) -> None:
        """Import a docker-archive on every node that is on, and on those that are added."""
        if str(archive) not in self._settings["archives"]:
            self._keep(archives=[*self._settings["archives"], str(archive)])
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda node: node.load_image(archive), (node for node in self.nodes if node.machine.pid)))

    def unload_image(self, archive: Path, reference: str) -> None:
        """Forget an image on every node that is on, and on those that are added."""
        self._keep(archives=[one for one in self._settings["archives"] if one != str(archive)])
        for node in self.nodes:
            if node.machine.pid:
                node.unload_image(archive, reference)

    def audit_events(self) -> Iterator[dict[str, Any]]:
        """The API server's audit log: every write, oldest first (reads are not recorded)."""
        with self._control_plane().audit_log.open() as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)

    # -- parts

    def _machine(self, host: str) -> Machine:
        return Machine(
            hostname=host,
            netns=self.lan.netns_of(host),
            cgroup=f"{self.name}/{host}",
            folder=self.folder / host,
            binaries=CACHE / "bin",
        )

    def _new_node(self, index: int) -> Node:
        name = f"node{index + 1}"
        return Node(name=name, index=index, number=FIRST_NODE + index, lan=self.lan, machine=self._machine(name))

    def _control_plane(self) -> ControlPlane:
        authority = Authority(self._control.folder / "pki")
        return ControlPlane(
            self._control, authority, address=self.lan.address(CONTROL_PLANE), port=self._settings["port"]
        )

    def _keep(self, **settings: Any) -> None:
        """Write the record, with these of its settings new."""
        self._settings.update(settings)
        self._record.write_text(json.dumps(self._settings))

    def _images(self) -> Path:
        """What a new node's containerd begins with."""
        return containerd.store([*map(Path, self._settings["archives"])], self._machine("images"))

    def _neighbours(self, node: Node) -> list[str]:
        """The namespaces of the control plane and of every other node that is on."""
        others = (other.machine for other in self.nodes if other is not node)
        return [machine.netns for machine in (self._control, *others) if machine.pid]

    @staticmethod
    def _route(netns: str, node: Node) -> None:
        """The way to a node's pods."""
        run("ip", "-n", netns, "route", "add", pod_range(node.index), "via", node.address)

    def _routes(self, node: Node) -> dict[str, str]:
        return {pod_range(other.index): other.address for other in self.nodes if other is not node}

    def _say(self, text: str) -> None:
        say(f"{self.name} [{time.monotonic() - self._started:.1f} s] {text}")
