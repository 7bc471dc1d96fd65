"""The router's options: what `vip-speaker router` takes, and hands on to the process that the guard starts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

DEFAULT_STATE_DIRECTORY = "/run/kube-vrrp"
STATE_DIRECTORY_VARIABLE = "KUBE_VRRP_STATE_DIR"
"""Says where the state is instead, so that in a pod, too, `vip-speaker status` needs no option."""
DEFAULT_GRACE_SECONDS = 25.0
"""Below Kubernetes' 30 s and systemd's 90 s, so that the guard's own limit comes first."""


def add_router_options(router: argparse.ArgumentParser) -> None:
    """The options of the router, which `vip_speaker.router` takes too."""
    router.add_argument(
        "--config", required=True, type=Path, metavar="PATH",
        help="a VirtualIP manifest, several in one file, or a directory of them, watched for changes",
    )  # fmt: skip
    add_state_directory(router)
    router.add_argument(
        "--node", metavar="NAME", help="this host's name in the manifests' assignments (default: its host name)"
    )
    router.add_argument(
        "--address-lifetime", type=_address_lifetime, default="auto", metavar="SECONDS",
        help="after how long the kernel removes an address that nobody renews: auto (default) follows the advert "
        "interval; 0 is for ever, as keepalived adds them",
    )  # fmt: skip
    router.add_argument(
        "--grace", type=_grace, default=DEFAULT_GRACE_SECONDS, metavar="SECONDS",
        help="how long leaving may take after SIGTERM before the guard ends it (default: %(default)g)",
    )  # fmt: skip
    router.add_argument(
        "--scripts-dir", type=Path, metavar="DIR",
        help="where track[].script finds its scripts: root's, and writable by nobody else (default: none are run)",
    )  # fmt: skip
    router.add_argument(
        "--checks-socket", type=Path, metavar="PATH",
        help="ask a `vip-speaker checks` that runs already, instead of starting one where checks need it",
    )  # fmt: skip
    router.add_argument(
        "--files-root", type=Path, metavar="DIR",
        help="where the host's root directory is found, for track[].file, if not at /: in a container",
    )  # fmt: skip
    router.add_argument(
        "--files-dir", type=Path, action="append", default=[], metavar="DIR",
        help="with --files-root: a directory of the host that is mounted there; files elsewhere are not looked at",
    )  # fmt: skip
    router.add_argument("--log-format", choices=("plain", "json"), default="plain", help="(default: %(default)s)")
    router.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="(default: %(default)s)"
    )


def add_checks_options(checks: argparse.ArgumentParser) -> None:
    """The options of `vip-speaker checks`."""
    checks.add_argument(
        "--socket", type=Path, metavar="PATH", help="where the router asks (its --checks-socket); made anew"
    )
    checks.add_argument(
        "--scripts-dir", type=Path, metavar="DIR",
        help="where scripts are: root's, and writable by nobody else (default: none are run)",
    )  # fmt: skip


def add_state_directory(command: argparse.ArgumentParser) -> None:
    """`--state-dir`, for whoever writes or reads the state documents."""
    default = os.environ.get(STATE_DIRECTORY_VARIABLE) or DEFAULT_STATE_DIRECTORY
    command.add_argument(
        "--state-dir", type=Path, default=Path(default), metavar="DIR",
        help="where the router writes its state, one file per VIP "
        f"(default: ${STATE_DIRECTORY_VARIABLE}, or else {DEFAULT_STATE_DIRECTORY})",
    )  # fmt: skip


def _address_lifetime(text: str) -> str:
    """`auto`, or a whole number of seconds: 0, or at least 2, the shortest the kernel keeps reliably."""
    if text != "auto" and not (text.isascii() and text.isdecimal() and len(text) < 9 and int(text) != 1):
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto, 0 nor a whole number of seconds from 2")
    return text


def _grace(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 3600")
    return seconds
