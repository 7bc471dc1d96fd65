"""The agent's four kinds of calls, over the `kubernetes` client, with plain mappings and errors of our
own.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes import client, config
from kubernetes.utils.keepalive import tcp_keepalive_socket_options

GROUP_VERSION = "kube-vrrp.io/v1alpha1"
PLURAL = "virtualips"
RESOURCE = f"/apis/{GROUP_VERSION}/{PLURAL}"

Object = dict[str, Any]

CALL_TIMEOUTS_S = (3.0, 10.0)
SILENCE_S = 90.0
"""A bookmark comes about once a minute, so a longer silence is a connection that is only half open."""
SOCKET_OPTIONS = (
    *tcp_keepalive_socket_options(idle=10, interval=3, count=3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000),
)
"""A peer that is gone without a word (its machine, or a firewall's memory of the connection) is given up by our kernel
after 16 s. It costs an idle connection two packets in 10 s.
"""
MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Above any object that etcd stores."""


class ApiError(Exception):
    """An answer that is not 2xx (`status`), or none at all (None)."""

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(f"{status}: {message}" if status is not None else message)
        self.status = status


class NotTextError(ApiError):
    """What a Secret has at a key is not UTF-8."""

    def __init__(self, name: str) -> None:
        super().__init__(None, f"the Secret {name} is not text")


class Api:
    """Every method raises ApiError, nothing else, for what can go wrong between here and the API server."""

    def __init__(self, configuration: client.Configuration, *, namespace: str) -> None:
        configuration.retries = False
        configuration.socket_options = list(SOCKET_OPTIONS)
        self._client = client.ApiClient(configuration)
        self._namespace = namespace

    @classmethod
    def connect(cls, *, namespace: str) -> Api:
        """With the pod's service account, or else the kubeconfig."""
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            config.load_kube_config(client_configuration=configuration)
        return cls(configuration, namespace=namespace)

    def list(self) -> tuple[list[Object], str]:
        """All VirtualIPs, and the version of the list."""
        answer = self._json("GET", RESOURCE)
        try:
            return [dict(item) for item in answer["items"]], str(answer["metadata"]["resourceVersion"])
        except (KeyError, TypeError) as error:
            raise ApiError(None, f"the list makes no sense: {error!r}") from error

    def watch(self, version: str, seconds: int) -> Iterator[Object]:
        """The events after `version`, until the server ends the watch after `seconds`; when it returns the server has
        answered.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        response = self._call("GET", RESOURCE, query=query, timeouts=(CALL_TIMEOUTS_S[0], SILENCE_S)).response
        return self._events(response)

    @staticmethod
    def _events(response: Any) -> Iterator[Object]:
        try:
            pending = b""
            for chunk in response.stream(amt=None, decode_content=False):
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
                if len(pending) > MAX_EVENT_BYTES:
                    raise ApiError(None, "an event of the watch is too long")
            if pending.strip():
                raise ApiError(None, "the watch ended in the middle of an event")
        except ApiError:
            raise
        except Exception as error:
            raise ApiError(None, f"{type(error).__name__}: {error}") from error
        finally:
            response.release_conn()
            response.close()

    def is_served(self) -> bool:
        """Whether discovery knows the resource."""
        try:
            resources = self._json("GET", f"/apis/{GROUP_VERSION}").get("resources") or ()
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return any(r.get("name") == PLURAL for r in resources)

    def apply_status(self, name: str, *, uid: str, status: Mapping[str, Any], manager: str) -> Object:
        """Server-side apply of this node's part of a status; 409 if the object is another one by now."""
        body = {
            "apiVersion": GROUP_VERSION,
            "kind": "VirtualIP",
            "metadata": {"name": name, "uid": uid},
            # an empty status would be something that we own, and our line in managedFields would stay for good
            **({"status": status} if status else {}),
        }
        return self._json(
            "PATCH",
            f"{RESOURCE}/{name}/status",
            query={"fieldManager": manager, "force": "true"},
            body=body,
            content_type="application/apply-patch+yaml",
        )

    def secret_value(self, name: str, key: str) -> str | None:
        """A key of a Secret in the release's namespace; None if Secret or key do not exist."""
        try:
            secret = self._json("GET", f"/api/v1/namespaces/{self._namespace}/secrets/{name}")
            return base64.b64decode((secret.get("data") or {})[key]).decode()
        except KeyError:
            return None
        except ValueError as error:
            raise NotTextError(name) from error
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _json(self, method: str, path: str, **options: Any) -> Object:
        response = self._call(method, path, **options)
        try:
            answer = json.loads(response.read())
        except Exception as error:
            raise ApiError(None, f"{type(error).__name__}: {error}") from error
        if not isinstance(answer, dict):
            raise ApiError(None, "the answer is not an object")
        return answer

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeouts: tuple[float, float] = CALL_TIMEOUTS_S,
    ) -> Any:
        try:
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
            text = response.read().decode(errors="replace")
        except client.ApiException as error:
            raise ApiError(error.status or None, str(error.reason)) from error
        except Exception as error:
            raise ApiError(None, f"{type(error).__name__}: {error}") from error
        raise ApiError(response.status, _message(text)[:500])


def _message(text: str) -> str:
    """What a Status says in words; anything else as it came."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return text
