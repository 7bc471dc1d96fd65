"""Before an uninstall: ask the operator to take every node out, and wait a while for the nodes' answers.

Run as a pre-delete hook. It never fails and never takes longer than it was given, so it cannot block an
uninstall.
"""

from __future__ import annotations

import logging
import time

from vip_operator.api import RESOURCE, Api
from vip_operator.plan.world import RELEASE_ANNOTATION

logger = logging.getLogger(__name__)


def run(api: Api, *, config_map: str, timeout_s: float) -> int:
    """Returns 0, whatever happens."""
    deadline = time.monotonic() + timeout_s
    try:
        path = f"/api/v1/namespaces/{api.namespace}/configmaps/{config_map}"
        body = {"metadata": {"annotations": {RELEASE_ANNOTATION: "true"}}}
        api.request("PATCH", path, body=body, content_type="application/merge-patch+json")
        while time.monotonic() < deadline:
            vips = api.request("GET", RESOURCE)["items"]
            holding = sorted(v["metadata"]["name"] for v in vips if (v.get("status") or {}).get("nodes"))
            if not holding:
                logger.info("every VirtualIP is released")
                return 0
            logger.info("waiting for %s", ", ".join(holding[:5]))
            time.sleep(1)
        logger.warning("not every node answered in time; what is left goes away with the speakers")
    except Exception as error:
        logger.warning("VirtualIPs are released by the end of the speakers instead: %s", error)
    return 0
