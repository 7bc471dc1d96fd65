"""What the speakers are able to look at, by the pod template that the chart rendered; and checks that need more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from vip_api.model import Track, VirtualIPSpec

from vip_operator.plan.daemonset import Template

_ROOT, _DIRECTORY = "--files-root=", "--files-dir="


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """`directories`: those of the node whose files are seen; None: all."""

    processes: bool
    scripts: bool
    directories: tuple[PurePosixPath, ...] | None


def abilities(template: Template) -> Abilities:
    """By the chart's template; one without its arguments is taken to run as a lone router does."""
    pod = template.manifest["spec"]["template"]["spec"]
    containers = {c.get("name"): c for c in pod.get("containers") or ()}
    arguments = [str(a) for a in (containers.get("router") or {}).get("args") or ()]
    directories = tuple(PurePosixPath(a.removeprefix(_DIRECTORY)) for a in arguments if a.startswith(_DIRECTORY))
    confined = any(a.startswith(_ROOT) for a in arguments)
    return Abilities(
        processes=bool(pod.get("hostPID")),
        scripts="checks" in containers,
        directories=directories if confined else None,
    )


def missing(spec: VirtualIPSpec, template: Template | None) -> list[str]:
    """One clause per check that the speakers cannot carry out, with the value of the chart that allows it."""
    if template is None or not spec.track:
        return []
    able = abilities(template)
    return [f"check {track.name}: {why}" for track in spec.track if (why := _why_not(track, able)) is not None]


def _why_not(track: Track, able: Abilities) -> str | None:
    if track.kind == "process" and not able.processes:
        return "the node's processes are seen with the chart's speaker.hostPID only"
    if track.kind == "script" and not able.scripts:
        return "scripts are run with the chart's speaker.scripts.enabled only"
    if track.kind == "file" and able.directories is not None:
        path = PurePosixPath(str(dict(track.check)["path"]))
        if not any(path.is_relative_to(directory) for directory in able.directories):
            return f"{path} is in none of the directories of the chart's speaker.hostFiles"
    return None
