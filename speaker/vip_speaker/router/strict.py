"""What `--config FILE` must be before the router starts. A person waits for the answer: everything is said at once."""

from __future__ import annotations

from pathlib import Path

from vip_api.model import VirtualIP
from vip_api.parse import check_together

from vip_speaker.router.manifests import Manifests
from vip_speaker.router.resolution import KernelView, missing_link, missing_vrid


def strict_problems(path: Path, kernel: KernelView) -> list[str]:
    """Every reason why the documents in the file `path` cannot be carried out here; none for a directory."""
    manifests = Manifests(path)
    if manifests.is_directory:
        return []
    snapshot = manifests.load(0)
    problems = list(snapshot.problems)
    vips: list[VirtualIP] = []
    for name, manifest in snapshot.manifests.items():
        problems += [f"{path}: {name}: {problem}" for problem in manifest.problems]
        if manifest.vip is not None:
            vips.append(manifest.vip)
    problems += [f"{path}: {vips[conflict.index].name}: {conflict}" for conflict in check_together(vips)]
    for vip in vips:
        for reason in (missing_vrid(vip), missing_link(vip, kernel)):
            if reason is not None:
                problems.append(f"{path}: {vip.name}: {reason}")
    return problems
