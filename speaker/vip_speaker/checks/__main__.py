"""`python -m vip_speaker.checks`: what `vip-speaker checks` runs, and what a router starts for itself."""

from __future__ import annotations

import argparse
import asyncio
import codecs
import os
import socket
import sys
from pathlib import Path

from vip_speaker.checks.confine import confine
from vip_speaker.checks.http import HttpCheck
from vip_speaker.checks.script import ScriptCheck
from vip_speaker.checks.server import Check, Server
from vip_speaker.checks.tcp import TcpCheck
from vip_speaker.options import add_checks_options


def main(arguments: list[str]) -> int:
    """Serve until the router hangs up (--fd) or SIGTERM."""
    parser = argparse.ArgumentParser(prog="vip-speaker checks")
    add_checks_options(parser)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if (options.fd is None) == (options.socket is None):
        parser.error("needs --socket")
    return serve(socket_path=options.socket, fd=options.fd, scripts_dir=options.scripts_dir)


def serve(*, socket_path: Path | None, fd: int | None, scripts_dir: Path | None) -> int:
    """Drop every right, then answer; the status to exit with."""
    for encoding in ("idna", "latin-1", "ascii"):  # modules that could not be read without rights
        codecs.lookup(encoding)
    listener = connection = None
    try:
        if fd is not None:
            connection = socket.socket(fileno=fd)
        elif socket_path is not None:
            listener = _listen(socket_path)
        refused = confine(die_with_parent=fd is not None)
    except OSError as error:
        sys.stderr.write(f"vip-speaker: checks: {error}\n")
        return 2
    kinds: dict[str, Check] = {
        "script": ScriptCheck(scripts_dir, refused=refused),
        "tcp": TcpCheck(),
        "http": HttpCheck(),
    }
    asyncio.run(Server(kinds).serve(listener=listener, connection=connection))
    os._exit(0)  # a thread that waits for a name server must not keep us


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    path.unlink(missing_ok=True)
    before = os.umask(0o111)  # a router without rights may not be the owner; `Server` asks the kernel who calls
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(4)
    return listener


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
