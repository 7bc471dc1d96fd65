"""The command line, `vip-speaker`. Every subcommand imports what it needs when it runs, and nothing before."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vip_speaker.options import add_checks_options, add_router_options, add_state_directory


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; the status to exit with. `router` does not return: the guard takes the process over."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["agent"]:  # has its own options
        from vip_speaker.agent.main import main as agent_main  # noqa: PLC0415

        return int(agent_main(arguments[1:]))
    options = parser().parse_args(arguments)
    try:
        match options.command:
            case "router":
                return run_router(options)
            case "status":
                return run_status(options)
            case "checks":
                from vip_speaker.checks.__main__ import main as checks_main  # noqa: PLC0415

                return checks_main(arguments[1:])
            case "check":
                from vip_speaker.check import run_check  # noqa: PLC0415

                return run_check(options.path, sys.stdout)
            case _:
                from vip_speaker.check import run_convert  # noqa: PLC0415

                return run_convert(options.path, sys.stdout, sys.stderr)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `vip-speaker status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def run_router(options: argparse.Namespace) -> int:
    """Become the guard, which starts the router with these options.

    A new program, not a call: argparse and site-packages must not stay in the guard's memory (-I -S).
    """
    guard = Path(__file__).with_name("guard_program.py")
    program = [sys.executable, "-I", "-S", str(guard), str(guard.parents[1])]
    # -P: a vip_speaker directory that happens to lie in the working directory is not the router
    router = [sys.executable, "-P", "-m", "vip_speaker.router", *router_arguments(options)]
    os.execv(sys.executable, [*program, f"{options.grace:g}", options.log_format, *router])  # noqa: S606


def router_arguments(options: argparse.Namespace) -> list[str]:
    """What `python -m vip_speaker.router` is given: every option, defaults too, except --node when it was not given."""
    arguments = ["--config", str(options.config), "--state-dir", str(options.state_dir)]
    if options.node:
        arguments += ["--node", options.node]
    arguments += ["--address-lifetime", options.address_lifetime, "--grace", f"{options.grace:g}"]
    if options.scripts_dir is not None:
        arguments += ["--scripts-dir", str(options.scripts_dir)]
    if options.checks_socket is not None:
        arguments += ["--checks-socket", str(options.checks_socket)]
    if options.files_root is not None:
        arguments += ["--files-root", str(options.files_root)]
    for directory in options.files_dir:
        arguments += ["--files-dir", str(directory)]
    return [*arguments, "--log-format", options.log_format, "--log-level", options.log_level]


def run_status(options: argparse.Namespace) -> int:
    """Print what the router of this host does."""
    from vip_speaker import status  # noqa: PLC0415
    from vip_speaker.statedirectory import StateDirectory  # noqa: PLC0415

    directory = StateDirectory(options.state_dir)
    return status.run_status(directory, output=options.output, watch=options.watch, out=sys.stdout, err=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The options of every subcommand but `agent`."""
    root = argparse.ArgumentParser(
        prog="vip-speaker",
        description="Virtual IPs by VRRP: the router of one host, and what goes with it.",
        epilog="`vip-speaker COMMAND --help` lists a command's options.",
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)

    router = commands.add_parser(
        "router",
        help="run the VRRP router of this host",
        description="Run the VRRP router of this host, under a guard that removes its addresses should it be killed. "
        "SIGTERM leaves without losing a packet, SIGHUP reads the configuration again (a change is noticed anyway).",
        epilog="Exit status: 0 after SIGTERM or SIGINT, 2 when a --config FILE is wrong, each problem named.",
    )
    add_router_options(router)

    status = commands.add_parser(
        "status",
        help="show the VIPs of this host, as `kubectl get vip` does for a cluster",
        description="Show the VIPs of this host: who is MASTER, with what priority, for how long.",
        epilog="Exit status: 0, or 1 if no router runs here.",
    )
    add_state_directory(status)
    status.add_argument(
        "-o", "--output", choices=("table", "wide", "json"), default="table",
        help="wide adds all addresses, the interface, since when and why; json is a list of the state documents",
    )  # fmt: skip
    status.add_argument("-w", "--watch", action="store_true", help="go on, and print a VIP again whenever it changes")

    check = commands.add_parser(
        "check",
        help="name every problem in VirtualIP manifests",
        description="Name every problem in VirtualIP manifests, with file and field, and start nothing.",
        epilog="Exit status: 0 if there is none, 1 if there are any.",
    )
    check.add_argument(
        "path", type=Path, metavar="PATH", help="a manifest, several in one file, or a directory of them"
    )

    checks = commands.add_parser(
        "checks",
        help="run scripts and connection checks for a router, without privileges",
        description="Run track[].script, tcp and http for a router that asks over a Unix socket. It gives up every "
        "right at its start; a router without --checks-socket starts one for itself.",
        epilog="Exit status: 0 after SIGTERM, 2 when it cannot start.",
    )
    add_checks_options(checks)

    convert = commands.add_parser(
        "convert",
        help="turn a keepalived.conf into VirtualIP manifests",
        description="Print VirtualIP manifests that do what a keepalived.conf does, "
        "and on standard error what could not be carried over and why.",
    )
    convert.add_argument("path", type=Path, metavar="KEEPALIVED_CONF")

    commands.add_parser("agent", help="in a cluster: connect the router of this node to the API server", add_help=False)
    return root
