"""Other releases than this checkout's: changed copies of it, built and installed as it is itself."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.embedded import builder
from tests.cluster.embedded.command import REPOSITORY

COPIED = ("Dockerfile", ".dockerignore", "requirements", "scripts", "crds", "operator", "speaker", "charts")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a user upgrades to: a chart and its images."""

    chart: Path
    images: dict[str, builder.Image]


def crashing_speaker(folder: Path) -> builder.Image:
    """A speaker whose router ends with status 1 as soon as it is started."""
    start = "    arguments = _parse(argv)\n    configure("
    _copy(folder, {"speaker/vip_speaker/router/__main__.py": {start: f"    raise SystemExit(1)\n{start}"}})
    return builder.build("speaker", folder, variant="crashing")


def next_release(folder: Path) -> Release:
    """Operator, speakers and definition know the field `spec.colour` and the kind of check `carrier`, which is what
    `interface` is.
    """
    kind = '    "interface": INTERFACE,\n'
    tracker = '    "interface": InterfaceTracker,\n'
    last = '    "onCordon": Text(\n'
    _copy(
        folder,
        {
            "crds/vip_api/track.py": {kind: kind + '    "carrier": INTERFACE,\n'},
            "crds/vip_api/spec.py": {last: '    "colour": Text(description="New.", max_length=16),\n' + last},
            "speaker/vip_speaker/health/monitor.py": {tracker: tracker + '    "carrier": InterfaceTracker,\n'},
        },
    )
    chart = folder / "charts" / "kube-vrrp"
    definition = subprocess.run(
        [sys.executable, "-m", "vip_api.schema"], cwd=folder / "crds", capture_output=True, text=True, check=True
    ).stdout
    assert "colour" in definition
    (chart / "files" / "virtualip.yaml").write_text(definition)
    metadata = chart / "Chart.yaml"
    metadata.write_text(re.sub(r"(?m)^(v|appV)ersion: .*$", r"\1ersion: 99.0.0", metadata.read_text()))
    return Release(chart=chart, images=builder.build_all(folder, variant="next"))


def _copy(folder: Path, changes: Mapping[str, Mapping[str, str]]) -> None:
    """The checkout into `folder`, with texts replaced that are there exactly once."""
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / name)
    for name, texts in changes.items():
        path = folder / name
        for old, new in texts.items():
            assert path.read_text().count(old) == 1, f"{name} has changed: {old!r}"
            path.write_text(path.read_text().replace(old, new))
