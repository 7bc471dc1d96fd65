"""`python -m vip_speaker.router`: the router process, started by the guard with the same arguments."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from typing import Any

from vip_speaker.health.files import HostFiles
from vip_speaker.health.runner import Where
from vip_speaker.kernel import Kernel, KernelError, Record
from vip_speaker.options import add_router_options
from vip_speaker.router.cleanup import Cleanup
from vip_speaker.router.daemon import Daemon, Settings
from vip_speaker.router.logs import configure
from vip_speaker.router.loop import Loop
from vip_speaker.router.notify import notify
from vip_speaker.router.outlet import Outlet
from vip_speaker.router.scheduling import settle_memory, take_rights
from vip_speaker.router.strict import strict_problems
from vip_speaker.statedirectory import StateDirectory
from vip_speaker.will import Will

log = logging.getLogger("vip_speaker")


def main(argv: list[str]) -> int:
    """Run until told to leave. 0: left as asked; 2: a document, the host or our rights do not allow to start."""
    arguments = _parse(argv)
    configure(log_format=arguments.log_format, level=arguments.log_level)
    settings = Settings(
        config=arguments.config,
        state_dir=arguments.state_dir,
        node=arguments.node or socket.gethostname(),
        address_lifetime_s=None if arguments.address_lifetime == "auto" else int(arguments.address_lifetime),
        checks=Where(socket=arguments.checks_socket, scripts_dir=arguments.scripts_dir),
        files=HostFiles(root=arguments.files_root, directories=tuple(arguments.files_dir)),
    )
    try:
        if os.geteuid() != 0:
            raise KernelError("the router must run as root: it adds addresses and opens packet sockets")
        if not settings.config.exists():
            raise KernelError(f"--config {settings.config}: no such file or directory")
        kernel = Kernel.open()
        problems = strict_problems(settings.config, kernel)
        state_directory = StateDirectory(settings.state_dir)
        state_directory.create()
        state_directory.hold()
    except KernelError as error:
        problems = [str(error)]
    except OSError as error:
        problems = [f"--state-dir {settings.state_dir}: {error.strerror}"]
    for problem in problems:
        sys.stderr.write(f"vip-speaker: {problem}\n")
    if problems:
        return 2
    asyncio.run(_run(settings, kernel, state_directory))
    return 0


async def _run(settings: Settings, kernel: Kernel, state_directory: StateDirectory) -> None:
    loop = Loop()
    log.info("%s", take_rights())
    outlet = Outlet(loop, kernel, state_directory)
    outlet.start()
    record = Record(settings.state_dir / "held")
    swept = kernel.sweep(record)
    if swept:
        log.warning("removed what an earlier run left behind: %s", ", ".join(swept))
    cleanup = Cleanup(loop, kernel, record=record, will=Will.from_environment())
    daemon = Daemon(settings, loop, kernel, cleanup, outlet)
    cleanup.start()
    daemon.start()
    loop.rearm()
    running = asyncio.get_running_loop()
    running.set_exception_handler(_give_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, lambda: loop.call_soon(daemon.stop))
    running.add_signal_handler(signal.SIGHUP, lambda: loop.call_soon(daemon.reload))
    settle_memory()
    notify("READY=1")
    await daemon.left.wait()
    cleanup.end()
    outlet.flush()
    daemon.close()
    log.info("left")


def _give_up(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A bug of ours: nobody knows any more what is held. The guard releases it and starts a router that does."""
    log.critical("ending: %s", context["message"], exc_info=context.get("exception"))
    os._exit(1)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vip-speaker router")
    add_router_options(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
