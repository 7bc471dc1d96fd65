"""The few calls that the operator makes, as plain mappings, over the `kubernetes` client."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any

from kubernetes import client
from kubernetes.utils.keepalive import tcp_keepalive_socket_options
from urllib3.exceptions import HTTPError
from vip_api.model import IPAddress

from vip_operator.plan.content import address
from vip_operator.plan.virtualip import OPERATOR_MANAGER
from vip_operator.store import CONFIG_MAPS, DAEMON_SETS, NODES, PODS, VIPS

GROUP_VERSION = "kube-vrrp.io/v1alpha1"
PLURAL = "virtualips"
RESOURCE = f"/apis/{GROUP_VERSION}/{PLURAL}"
APPLY = "application/apply-patch+yaml"
TIMEOUTS_S = (5.0, 30.0)
"""To connect, and to read an answer."""
WRITE_S = 1.5
"""After this a write under the lease is given up, by us and, from its arrival on, by the API server: both together
are no more than what is left of the lease when it begins (docs/decisions/late-writes.md)."""
SOCKET_OPTIONS = (
    *tcp_keepalive_socket_options(idle=10, interval=3, count=3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000),
)
"""A peer that is gone without a word (its machine, or a firewall's memory of the connection) is given up by our kernel
after 16 s. It costs an idle connection two packets in 10 s.
"""
RESET_WHEN_CLOSED = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""What was given up and not sent yet is thrown away, instead of sent when the network is back."""

WATCH_S = 300
"""After this the server ends a watch."""
SILENCE_S = 90.0
"""A bookmark comes about once a minute, so a longer silence is a connection that is only half open."""

EVENTS_NAMESPACE = "default"
"""Events of cluster-scoped objects are accepted nowhere else."""

ApiException = client.ApiException
NOT_FOUND = 404
CONFLICT = 409


class Api:
    """Every method raises `ApiException`, whose status is 0 where there was no answer, or none that makes sense."""

    def __init__(self, configuration: client.Configuration, *, namespace: str) -> None:
        configuration.retries = False
        configuration.socket_options = [*SOCKET_OPTIONS, RESET_WHEN_CLOSED]
        self.namespace = namespace
        self._client = client.ApiClient(configuration)

    def list(self, kind: str, *, config_map: str) -> tuple[list[dict[str, Any]], int]:
        """All objects of a kind, and the resource version of the list."""
        here = f"/namespaces/{self.namespace}"
        path, query = {
            VIPS: (RESOURCE, {}),
            NODES: ("/api/v1/nodes", {}),
            PODS: (f"/api/v1{here}/pods", {}),
            DAEMON_SETS: (f"/apis/apps/v1{here}/daemonsets", {}),
            CONFIG_MAPS: (f"/api/v1{here}/configmaps", {"fieldSelector": f"metadata.name={config_map}"}),
        }[kind]
        answer = self.request("GET", path, query=query)
        with _named():
            version = answer["metadata"].get("resourceVersion", "0")
            return answer["items"], int(version) if version.isdigit() else 0

    def version(self) -> int:
        """The present resource version of VirtualIPs, at the least cost."""
        answer = self.request("GET", RESOURCE, query={"limit": "1"})
        with _named():
            version = answer["metadata"].get("resourceVersion", "0")
            return int(version) if version.isdigit() else 0

    def apply_status(self, name: str, uid: str, status: Mapping[str, Any]) -> dict[str, Any]:
        """Server-side apply of a VirtualIP's status; a conflict (409) if the object is another one by now."""
        return self._apply_status(name, {"metadata": {"name": name, "uid": uid}, "status": status}, OPERATOR_MANAGER)

    def clear_entry(self, name: str, field_manager: str) -> dict[str, Any]:
        """Give up everything in the status that `field_manager` owns."""
        # an empty status would be something that it owns, and its line in managedFields would stay for good
        return self._apply_status(name, {"metadata": {"name": name}}, field_manager)

    def _apply_status(self, name: str, fields: Mapping[str, Any], manager: str) -> dict[str, Any]:
        body = {"apiVersion": GROUP_VERSION, "kind": "VirtualIP", **fields}
        return self._apply(f"{RESOURCE}/{name}/status", body, manager)

    def apply_daemon_set(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Server-side apply of the speaker DaemonSet in the operator's namespace."""
        name = manifest["metadata"]["name"]
        body = {**manifest, "metadata": {**manifest["metadata"], "namespace": self.namespace}}
        return self._apply(f"/apis/apps/v1/namespaces/{self.namespace}/daemonsets/{name}", body, OPERATOR_MANAGER)

    def _apply(self, path: str, body: Mapping[str, Any], manager: str) -> dict[str, Any]:
        query = {"fieldManager": manager, "force": "true"}
        return self.write("PATCH", path, query=query, body=body, content_type=APPLY)

    def delete_pod(self, name: str, uid: str) -> None:
        """Delete exactly this pod, with its own grace period."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}"
        self.write("DELETE", path, body={"preconditions": {"uid": uid}})

    def create_event(self, vip: Mapping[str, Any], *, kind: str, reason: str, message: str, at: str) -> None:
        """An Event about a VirtualIP."""
        metadata = vip["metadata"]
        body = {
            "metadata": {"generateName": f"{metadata['name'][:200]}.", "namespace": EVENTS_NAMESPACE},
            "involvedObject": {
                "apiVersion": GROUP_VERSION,
                "kind": "VirtualIP",
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": OPERATOR_MANAGER},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        self.request("POST", f"/api/v1/namespaces/{EVENTS_NAMESPACE}/events", body=body)

    def cluster_uid(self) -> str:
        """The uid of kube-system, which stands for the cluster."""
        answer = self.request("GET", "/api/v1/namespaces/kube-system")
        with _named():
            return str(answer["metadata"]["uid"])

    def api_server(self) -> frozenset[IPAddress]:
        """The addresses that the API server gives as its own, where the Service `kubernetes` leads to."""
        slice_ = self.request("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
        with _named():
            texts = [text for endpoint in slice_.get("endpoints") or () for text in endpoint.get("addresses") or ()]
            return frozenset(ip for text in texts if (ip := address(text)) is not None)

    def node_lease(self, node: str) -> dict[str, Any]:
        """The lease that a node's kubelet renews."""
        return self.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}")

    def refused_pods(self, daemon_set: str) -> str | None:
        """Why the latest Event says that pods of the DaemonSet could not be created, without the name of the one that
        it is about; None if there is none, or one was created since.
        """
        query = {"fieldSelector": f"involvedObject.kind=DaemonSet,involvedObject.name={daemon_set}"}
        answer = self.request("GET", f"/api/v1/namespaces/{self.namespace}/events", query=query)
        with _named():
            told = [e for e in answer["items"] if e.get("reason") in ("FailedCreate", "SuccessfulCreate")]
            latest = max(told, key=lambda e: (e.get("lastTimestamp") or "", e["reason"]), default=None)
        message = str(latest.get("message", "")) if latest else ""
        _, forbidden, why = message.partition(" is forbidden: ")
        return f"the speaker's pods are forbidden: {why}" if forbidden else None

    def list_pods(self, namespace: str, selector: str) -> tuple[Sequence[dict[str, Any]], str]:
        """The selected pods of a namespace, and the version of the list."""
        answer = self.request("GET", f"/api/v1/namespaces/{namespace}/pods", query={"labelSelector": selector})
        with _named():
            return answer["items"], str(answer["metadata"]["resourceVersion"])

    def watch_pods(self, namespace: str, selector: str, version: str) -> Iterator[dict[str, Any]]:
        """What becomes of them after `version`, until the server ends the watch."""
        query = {
            "labelSelector": selector,
            "resourceVersion": version,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        }
        response = self._call(
            "GET", f"/api/v1/namespaces/{namespace}/pods", query=query, timeouts=(TIMEOUTS_S[0], SILENCE_S)
        ).response
        try:
            pending = b""
            with _named():
                for chunk in response.stream(amt=None, decode_content=False):
                    *lines, pending = (pending + chunk).split(b"\n")
                    yield from (json.loads(line) for line in lines if line.strip())
        finally:
            response.close()

    def resource_is_served(self) -> bool:
        """Whether the CRD is installed."""
        try:
            answer = self.request("GET", f"/apis/{GROUP_VERSION}")
        except ApiException as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return any(r.get("name") == PLURAL for r in answer.get("resources") or ())

    def write(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, **options: Any
    ) -> dict[str, Any]:
        """As `request`, for what must not be carried out later: done within 2 WRITE_S, or never."""
        bounded = {**(query or {}), "timeout": f"{WRITE_S * 1000:.0f}ms"}
        return self.request(method, path, query=bounded, timeouts=WRITE_S, **options)

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """One call with JSON both ways, `options` as for `_call`; the generated methods turn every answer into objects
        and back.
        """
        response = self._call(method, path, **options)
        with _named():
            return dict(json.loads(response.read()))

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeouts: tuple[float, float] | float = TIMEOUTS_S,
    ) -> Any:
        with _named():
            response = self._client.call_api(
                *self._client.param_serialize(
                    method=method,
                    resource_path=path,
                    query_params=list((query or {}).items()),
                    header_params={"Accept": "application/json", "Content-Type": content_type},
                    body=body,
                    auth_settings=["BearerToken"],
                ),
                _request_timeout=timeouts,
            )
            if 200 <= response.status < 300:
                return response
            content = response.read().decode(errors="replace")
        raise ApiException(status=response.status, reason=response.reason, body=content)


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """What is not an answer of an API server under one name: refused, reset, timed out, garbled."""
    try:
        yield
    except (HTTPError, HTTPException, OSError, ValueError, TypeError, LookupError) as error:
        raise ApiException(status=0, reason=f"{type(error).__name__}: {error}") from error
