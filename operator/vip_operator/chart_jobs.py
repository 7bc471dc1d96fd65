"""What the chart's hooks and `helm test` run: `release`, `apply` and `check`, each once and with a limit of
time.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from vip_operator.api import APPLY, RESOURCE, Api, ApiException
from vip_operator.plan.daemonset import RELEASE_ANNOTATION

logger = logging.getLogger(__name__)

POLL_S = 1.0
NO_ANSWER = 0
"""An ApiException's status where the API server said nothing, as it will to the next request."""
REFUSALS = (400, 422)
"""What is wrong with the document itself: a bad request, and an object that is not valid."""


def release(api: Api, *, config_map: str, timeout_s: float) -> int:
    """Before an uninstall: ask the operator to take every node out, and wait for the nodes' answers. Always
    0.

    What it finds cannot block an uninstall: whatever is not released by then goes away with the speakers.
    """
    try:
        path = f"/api/v1/namespaces/{api.namespace}/configmaps/{config_map}"
        body = {"metadata": {"annotations": {RELEASE_ANNOTATION: "true"}}}
        api.request("PATCH", path, body=body, content_type="application/merge-patch+json")
    except Exception as error:
        logger.warning("the operator cannot be asked; VirtualIPs end with the speakers: %s", error)
        return 0
    _until(lambda: _holding(api), timeout_s, "every VirtualIP is released")
    return 0


def apply(api: Api, *, file: Path, timeout_s: float) -> int:
    """After an install: server-side apply of VirtualIPs, as soon as their CRD is served. 1 if one was not
    applied.

    One that is refused holds up no other. The log ends with a line for each that was not applied, which the
    container's termination message repeats.
    """
    waiting = [d for d in yaml.safe_load_all(file.read_text()) if d]
    refused: list[str] = []
    left: list[str] = []

    def pending() -> str | None:
        left.clear()
        for document in tuple(waiting):
            name = document["metadata"]["name"]
            try:
                api.request(
                    "PATCH",
                    f"{RESOURCE}/{name}",
                    query={"fieldManager": "kube-vrrp-chart", "force": "true"},
                    body=document,
                    content_type=APPLY,
                )
            except ApiException as error:
                if error.status == NO_ANSWER:
                    left.extend(f"VirtualIP {d['metadata']['name']}: {_message(error)}" for d in waiting[len(left) :])
                    break
                said = f"VirtualIP {name}: {_message(error)}"
                if not _is_final(error):
                    left.append(said)
                    continue
                refused.append(said)
            else:
                logger.info("VirtualIP %s applied", name)
            waiting.remove(document)
        return "; ".join(left) or None

    _until(pending, timeout_s, "nothing more to apply")
    for said in (*refused, *left):
        logger.error("not applied: %s", said)
    return 1 if refused or waiting else 0


def check(api: Api, *, config_map: str, timeout_s: float) -> int:
    """For `helm test`: a ready speaker wherever there should be one, and every VirtualIP Ready. 1 if not in
    time.
    """
    return 0 if _until(lambda: _unwell(api, config_map), timeout_s, "all is well") else 1


def _until(pending: Callable[[], str | None], timeout_s: float, done: str) -> bool:
    """Poll until nothing is pending. False after `timeout_s`; errors on the way count as pending."""
    deadline, told = time.monotonic() + timeout_s, ""
    while True:
        try:
            left = pending()
        except Exception as error:
            left = str(error)
        if left is None:
            logger.info("%s", done)
            return True
        if left != told:
            logger.info("waiting: %s", left)
            told = left
        if time.monotonic() >= deadline:
            logger.warning("gave up after %g s: %s", timeout_s, left)
            return False
        time.sleep(POLL_S)


def _is_final(error: ApiException) -> bool:
    """Whether the API server would say the same again. It answers 500 to an unknown field in a server-side apply."""
    return error.status in REFUSALS or "field not declared in schema" in _message(error)


def _message(error: ApiException) -> str:
    """The sentence of the API server's Status; failing that, whatever there is."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, TypeError, LookupError):
        return str(error.body or error.reason)


def _holding(api: Api) -> str | None:
    names = [v["metadata"]["name"] for v in api.request("GET", RESOURCE)["items"] if _status(v).get("nodes")]
    return f"{', '.join(sorted(names)[:5])} still on nodes" if names else None


def _unwell(api: Api, config_map: str) -> str | None:
    here = f"/apis/apps/v1/namespaces/{api.namespace}/daemonsets/{config_map}"
    speakers = api.request("GET", here)
    found = _status(speakers)
    wanted, ready = found.get("desiredNumberScheduled", 0), found.get("numberReady", 0)
    if wanted == 0 or ready < wanted:
        missing = _not_ready(api, speakers["spec"]["selector"]["matchLabels"])
        return f"{ready} of {wanted} speakers are ready" + (f"; not ready: {', '.join(missing)}" if missing else "")
    for vip in api.request("GET", RESOURCE)["items"]:
        condition: dict[str, Any] = next((c for c in _status(vip).get("conditions") or () if c["type"] == "Ready"), {})
        if condition.get("status") != "True":
            return f"VirtualIP {vip['metadata']['name']}: {condition.get('message', 'not seen by the operator')}"
    return None


def _not_ready(api: Api, labels: dict[str, str]) -> list[str]:
    """Names and nodes of the first few such pods."""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = api.request("GET", f"/api/v1/namespaces/{api.namespace}/pods", query={"labelSelector": selector})["items"]
    return sorted(
        f"{pod['metadata']['name']} (node {pod['spec'].get('nodeName', 'not chosen')})"
        for pod in pods
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in _status(pod).get("conditions") or ())
    )[:5]


def _status(thing: dict[str, Any]) -> dict[str, Any]:
    return thing.get("status") or {}
