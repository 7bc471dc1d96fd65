"""What the chart's hooks and `helm test` run: `release`, `apply` and `check`, each once and with a limit of
time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from vip_operator.api import RESOURCE, Api
from vip_operator.plan.daemonset import RELEASE_ANNOTATION

logger = logging.getLogger(__name__)

POLL_S = 1.0


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
    """After an install: server-side apply of VirtualIPs, as soon as their CRD is served. 1 if one was
    refused.
    """
    documents = [d for d in yaml.safe_load_all(file.read_text()) if d]

    def pending() -> str | None:
        while documents:
            name = documents[0]["metadata"]["name"]
            try:
                api.request(
                    "PATCH",
                    f"{RESOURCE}/{name}",
                    query={"fieldManager": "kube-vrrp-chart", "force": "true"},
                    body=documents[0],
                    content_type="application/apply-patch+yaml",
                )
            except Exception as error:
                return f"{name}: {getattr(error, 'body', None) or error}"
            logger.info("%s applied", name)
            documents.pop(0)
        return None

    return 0 if _until(pending, timeout_s, "every VirtualIP is applied") else 1


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


def _holding(api: Api) -> str | None:
    names = [v["metadata"]["name"] for v in api.request("GET", RESOURCE)["items"] if _status(v).get("nodes")]
    return f"{', '.join(sorted(names)[:5])} still on nodes" if names else None


def _unwell(api: Api, config_map: str) -> str | None:
    here = f"/apis/apps/v1/namespaces/{api.namespace}/daemonsets/{config_map}"
    speakers = api.request("GET", here).get("status") or {}
    wanted, ready = speakers.get("desiredNumberScheduled", 0), speakers.get("numberReady", 0)
    if wanted == 0 or ready < wanted:
        return f"{ready} of {wanted} speakers are ready"
    for vip in api.request("GET", RESOURCE)["items"]:
        condition: dict[str, Any] = next((c for c in _status(vip).get("conditions") or () if c["type"] == "Ready"), {})
        if condition.get("status") != "True":
            return f"VirtualIP {vip['metadata']['name']}: {condition.get('message', 'not seen by the operator')}"
    return None


def _status(vip: dict[str, Any]) -> dict[str, Any]:
    return vip.get("status") or {}
