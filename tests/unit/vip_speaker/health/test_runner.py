"""The router's end of the checks process, against a real one and against hostile ones."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from vip_speaker.health import runner as module
from vip_speaker.health.runner import Outcome, Request, Runner, Where
from vip_speaker.router.loop import Loop

from tests.netns import wait_for
from tests.peers import checkout_environment


def request(kind="script", key="web/chk", timeout_ms=1000, **check) -> Request:
    return Request(key=key, kind=kind, check=check, timeout_ms=timeout_ms, environment={})


def on_the_loop(where: Where, play) -> None:
    async def run() -> None:
        loop = Loop()
        runner = Runner(loop, where)
        try:
            await play(loop, runner)
        finally:
            runner.close()
            loop.close()

    asyncio.run(run())


async def ask(loop: Loop, runner: Runner, what: Request, *, timeout_s: float = 20) -> Outcome:
    """As a tracker does: again as long as there is no result."""
    async with asyncio.timeout(timeout_s):
        while True:
            outcome = await ask_once(loop, runner, what)
            if outcome.good is not None:
                return outcome
            await asyncio.sleep(0.05)


async def ask_once(loop: Loop, runner: Runner, what: Request) -> Outcome:
    answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    runner.run(what, lambda outcome: None if answered.done() else answered.set_result(outcome))
    loop.rearm()
    return await answered


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in checkout_environment().items():
        monkeypatch.setenv(name, value)


def test_one_of_our_own_is_started_with_the_first_run_and_again_when_it_dies():
    async def play(loop, runner):
        assert runner._process is None
        no_scripts = Outcome(
            good=False, reason="no scripts directory is configured (--scripts-dir, or the chart's speaker.scripts)"
        )
        assert await ask(loop, runner, request(name="x")) == no_scripts
        first = runner._process
        first.send_signal(signal.SIGKILL)
        assert await ask(loop, runner, request(name="x")) == no_scripts
        assert runner._process is not first

    on_the_loop(Where(), play)


def test_one_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(module, "_HUNG_AFTER_NS", 300_000_000)

    async def play(loop, runner):
        await ask(loop, runner, request(name="x"))
        hung = runner._process
        hung.send_signal(signal.SIGSTOP)
        outcome = await ask_once(loop, runner, request(name="x", timeout_ms=100))
        assert outcome == Outcome(good=None, reason="the checks process does not answer")
        await ask(loop, runner, request(name="x"))
        assert runner._process is not hung

    on_the_loop(Where(), play)


@pytest.mark.skipif(os.geteuid() != 0, reason="scripts have to be root's")
@pytest.mark.parametrize("timeout_ms", [200, 60_000], ids=["after-its-timeout", "before"])
def test_what_a_script_started_ends_with_the_router(timeout_ms):
    """Also when its timeout has come already, and it ignores TERM."""
    with tempfile.TemporaryDirectory(prefix="checks-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        script = directory / "deaf"
        script.write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n")
        script.chmod(0o755)

        def left() -> bool:
            listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
            return any(name in line and "vip_speaker" not in line for line in listed.splitlines())

        async def play(loop, runner):
            told = []
            while not left():
                runner.run(request(name="deaf", timeout_ms=timeout_ms), told.append)
                loop.rearm()
                await asyncio.sleep(0.1)
            async with asyncio.timeout(20):
                while timeout_ms < 1000 and not any(one.good is False for one in told):
                    await asyncio.sleep(0.01)
            assert left(), "it is still there"

        on_the_loop(Where(scripts_dir=directory), play)
        wait_for(lambda: not left(), what="nothing of it is left", timeout=1.5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be a stranger")
def test_a_program_that_serves_a_path():
    with tempfile.TemporaryDirectory(prefix="checks-") as directory:
        path = Path(directory) / "checks.sock"

        async def play(loop, runner):
            nobody = await ask_once(loop, runner, request(name="x"))
            assert nobody.good is None
            command = [sys.executable, "-m", "vip_speaker", "checks", "--socket", str(path)]
            with subprocess.Popen(command) as program:
                assert (await ask(loop, runner, request(name="x"))).good is False
                assert path.stat().st_mode & 0o777 == 0o666
                assert asked_by_a_stranger(path) == b"", "only root and the program's own user are answered"
                program.terminate()
                assert program.wait(20) == 0
            assert (await ask_once(loop, runner, request(name="x"))).good is None

        on_the_loop(Where(socket=path), play)


def asked_by_a_stranger(path: Path) -> bytes:
    """What a user that is neither root nor the program's own is answered: nothing, before it hangs up."""
    path.parent.chmod(0o755)
    ask = (
        "import os,socket,sys; os.setuid(12345); s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        "s.connect(sys.argv[1]); s.settimeout(20); sys.stdout.buffer.write(s.recv(99))"
    )
    return subprocess.run([sys.executable, "-c", ask, str(path)], stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 4000,
        b'{"id": "1", "good": true, "reason": "r"}',
        b'{"id": 1, "good": 1, "reason": "r"}',
        b'{"id": 1, "good": true, "reason": null}',
        b'{"id": 77, "good": true, "reason": "of another run"}',
    ],
)
def test_hostile_answers_are_none(answer):
    outcome = played_by_a_stranger([answer, b'{"id": 1, "good": false, "reason": "the right one"}'])
    assert outcome == Outcome(good=False, reason="the right one")


def test_reasons_are_cut_and_cleaned():
    long = json.dumps({"id": 1, "good": False, "reason": "a\n\x1b[31mb" + "x" * 3000}).encode()
    reason = played_by_a_stranger([long]).reason
    assert reason.startswith("a  [31mb")
    assert len(reason) <= module.MAXIMUM_REASON


def played_by_a_stranger(answers: list[bytes]) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="checks-") as directory:
        path = Path(directory) / "checks.sock"
        got: list[Outcome] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen()

            async def play(loop, runner):
                runner._connect_now(0)
                runner._wanted = True
                runner._connect_now(0)
                connection, _ = listener.accept()
                with connection:
                    asked = asyncio.ensure_future(ask_once(loop, runner, request(name="x")))
                    await asyncio.sleep(0)
                    connection.recv(65536)
                    for answer in answers:
                        connection.send(answer)
                    async with asyncio.timeout(20):
                        got.append(await asked)

            on_the_loop(Where(socket=path), play)
    return got[0]


def test_one_who_does_not_read_keeps_nobody_waiting():
    with tempfile.TemporaryDirectory(prefix="checks-") as directory:
        path = Path(directory) / "checks.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen()

            async def play(loop, runner):
                runner._wanted = True
                runner._connect_now(0)
                began = time.monotonic()
                for _ in range(2000):
                    runner.run(request(name="x" * 1000), lambda _outcome: None)
                assert time.monotonic() - began < 5
                assert runner.problem == "the checks process does not read what it is asked"

            on_the_loop(Where(socket=path), play)


def test_answers_that_come_all_at_once_are_taken_one_per_turn():
    """So that an advertisement that is due waits for one of them, not for all."""
    with tempfile.TemporaryDirectory(prefix="checks-") as directory:
        path, turns, told = Path(directory) / "checks.sock", [], []
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen()

            async def play(loop, runner):
                runner._wanted = True
                runner._connect_now(0)
                numbers = [runner.run(request(name="x", key=str(one)), told.append) for one in range(20)]
                loop.run_due_adverts = lambda: turns.append(len(told))
                connection, _ = listener.accept()
                with connection:
                    for number in numbers:
                        connection.send(json.dumps({"id": number, "good": True, "reason": "r"}).encode())
                    async with asyncio.timeout(20):
                        while len(told) < 20:
                            await asyncio.sleep(0.001)

            on_the_loop(Where(socket=path), play)
    assert set(range(20)) <= set(turns), "what is due goes out before each"


def a_full_backlog(path: Path) -> list[socket.socket]:
    """Somebody listens and never accepts; as many wait already as may."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen(0)
    waiting = [listener]
    while True:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        waiting.append(one)
        one.setblocking(False)
        try:
            one.connect(str(path))
        except BlockingIOError:
            return waiting


TRAPS = {
    "FIFO": os.mkfifo,
    "directory": Path.mkdir,
    "symlink to a FIFO": lambda path: os.mkfifo(f"{path}.fifo") or path.symlink_to(f"{path}.fifo"),
    "sparse file": lambda path: path.touch() or os.truncate(path, 1 << 30),
    "full backlog": a_full_backlog,
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_in_place_of_the_socket_is_said_and_keeps_nobody_waiting(trap):
    with tempfile.TemporaryDirectory(prefix="checks-") as directory:
        path = Path(directory) / "checks.sock"
        held = TRAPS[trap](path) or []

        async def play(loop, runner):
            began = time.monotonic()
            runner._wanted = True
            runner._connect_now(0)
            assert time.monotonic() - began < 1
            assert runner.problem.startswith("the checks process cannot be reached: ")
            assert (await ask_once(loop, runner, request(name="x"))).good is None

        on_the_loop(Where(socket=path), play)
        for one in held:
            one.close()


def test_forgotten_answers_go_nowhere():
    async def play(loop, runner):
        number = runner.run(request(name="x"), lambda _outcome: pytest.fail("forgotten"))
        runner.forget(number)
        await ask(loop, runner, request(name="x", key="other"))

    on_the_loop(Where(), play)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_has_no_right_and_goes_first_when_memory_ends():
    async def play(loop, runner):
        await ask(loop, runner, request(name="x"))
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{runner._process.pid}/status").read_text().splitlines()
        )
        assert "0" not in status["Uid"].split()
        assert status["Groups"].split() in ([], ["65534"])
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1"
        assert Path(f"/proc/{runner._process.pid}/oom_score_adj").read_text().strip() == "500"

    on_the_loop(Where(), play)
