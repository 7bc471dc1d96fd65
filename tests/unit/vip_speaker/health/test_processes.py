"""Real processes on the router's real loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from vip_speaker.health import processes
from vip_speaker.health.aside import Aside
from vip_speaker.health.processes import Pattern, Processes
from vip_speaker.router.loop import Loop

PATIENCE_S = 20


@pytest.fixture
def program(tmp_path):
    """A program that nothing else on this machine is called."""
    path = tmp_path / f"hd{os.getpid()}"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", path)
    return path


@pytest.fixture
def start(program):
    started = []

    def start_one(*arguments: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([str(program), *(arguments or ("600",))]))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()


def on_the_loop(play: Callable[[Loop, Processes, list[tuple[int, int]]], Awaitable[None]], pattern: Pattern) -> None:
    """`play` with a list of (instant, number of such processes) that grows."""

    async def run() -> None:
        loop = Loop()
        aside = Aside(loop)
        watching = Processes(loop, aside)
        told: list[tuple[int, int]] = []

        def callback(number: int) -> None:
            told.append((time.monotonic_ns(), number))

        watching.watch(pattern, callback)
        loop.rearm()
        try:
            await play(loop, watching, told)
        finally:
            watching.unwatch(pattern, callback)
            assert not watching._watches
            aside.close()
            loop.close()

    asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


def test_births_and_deaths(program, start):
    delays = []

    async def play(loop, watching, told):
        await until(lambda: told)
        assert told[-1][1] == 0
        for number in range(1, 4):
            start()
            await until(lambda number=number: told[-1][1] == number)
        for _ in range(5):
            one = start()
            await until(lambda: told[-1][1] == 4)
            killed_ns = time.monotonic_ns()
            one.kill()
            await until(lambda: told[-1][1] == 3)
            delays.append((told[-1][0] - killed_ns) / 1e6)

    on_the_loop(play, Pattern(name=program.name))
    assert min(delays) < 5, f"milliseconds from kill to knowing: {delays}"


def test_a_zombie_does_not_count(program, start):
    async def play(loop, watching, told):
        one = start()
        await until(lambda: told and told[-1][1] == 1)
        one.kill()  # nobody waits for it
        await until(lambda: told[-1][1] == 0)
        here = len(told)
        await asyncio.sleep(0.6)
        assert len(told) == here

    on_the_loop(play, Pattern(name=program.name))


def test_a_whole_command_line(program, start):
    async def play(loop, watching, told):
        start("600")
        await until(lambda: told)
        assert told[-1][1] == 0
        start("600.0", "1")
        await until(lambda: told[-1][1] == 1)

    on_the_loop(play, Pattern(command_line=f"{program} 600.0 1"))


def test_a_script_goes_by_its_own_name(tmp_path):
    script = tmp_path / f"hs{os.getpid()}"
    script.write_text("#!/bin/sh\nread line\n")
    script.chmod(0o755)

    async def play(loop, watching, told):
        with subprocess.Popen([str(script)], stdin=subprocess.PIPE) as process:
            await until(lambda: told and told[-1][1] == 1)
            process.communicate()
        await until(lambda: told[-1][1] == 0)

    on_the_loop(play, Pattern(name=script.name))


@pytest.mark.parametrize(
    ("comm", "arguments", "found"),
    [
        ("watch-the-datab", ["/bin/sh", "/usr/local/bin/watch-the-database"], True),
        ("watch-the-datab", ["/bin/sh", "-e", "./watch-the-database", "7"], True),
        ("watch-the-datab", ["/bin/sh", "/usr/local/bin/watch-the-databank"], False),
        ("watch-the-datab", [], False),
        ("vi", ["vi", "/usr/local/bin/watch-the-database"], False),
    ],
)
def test_a_script_with_a_name_longer_than_the_kernel_keeps_is_known_by_its_arguments(comm, arguments, found):
    assert Pattern(name="watch-the-database").matches(comm, arguments) == found


def test_a_short_name_among_the_arguments_is_none():
    assert not Pattern(name="web").matches("sh", ["/bin/sh", "/bin/web"])


def test_a_process_that_becomes_another_program_is_noticed(program, tmp_path):
    async def play(loop, watching, told):
        shell = ["/bin/sh", "-c", f"sleep 0.7; exec {program} 600"]
        with subprocess.Popen(shell) as process:
            await until(lambda: told and told[-1][1] == 1)
            process.kill()
        await until(lambda: told[-1][1] == 0)

    on_the_loop(play, Pattern(name=program.name))


def test_an_old_process_has_its_turn_too(program, monkeypatch):
    """On a node with thousands of processes not every old one is looked at in every turn."""
    monkeypatch.setattr(processes, "_YOUNG_TURNS", 0)
    monkeypatch.setattr(processes, "_OLD_PER_TURN", 40)
    monkeypatch.setattr(processes, "SCAN_NS", 5_000_000)

    async def play(loop, watching, told):
        with subprocess.Popen(["/bin/sh", "-c", f"read line; exec {program} 600"], stdin=subprocess.PIPE) as process:
            await until(lambda: told)
            await asyncio.sleep(0.2)
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            await until(lambda: told[-1][1] == 1)
            process.kill()

    on_the_loop(play, Pattern(name=program.name))


def test_beyond_the_descriptors_a_death_is_seen_by_the_next_walk(program, start, monkeypatch):
    monkeypatch.setattr(processes, "MAXIMUM_WATCHED", 1)

    async def play(loop, watching, told):
        both = [start(), start()]
        await until(lambda: told and told[-1][1] == 2)
        for process in both:
            process.kill()
            process.wait()
        await until(lambda: told[-1][1] == 0)

    on_the_loop(play, Pattern(name=program.name))


def test_a_walk_never_keeps_the_loop_for_long(program, monkeypatch):
    """Ten thousand processes, each of which takes its time to look at."""
    monkeypatch.setattr(processes, "_process_ids", lambda: iter(range(1, 10_000)))
    monkeypatch.setattr(processes, "_comm_of", lambda _pid: (time.sleep(0.0001), "x")[1])
    slices = []

    async def play(loop, watching, told):
        carry_on = watching._next.callback

        def timed(now_ns):
            begin = time.thread_time_ns()
            carry_on(now_ns)
            slices.append((time.thread_time_ns() - begin) / 1e6)

        watching._next.callback = timed
        await until(lambda: len(slices) > 50)

    on_the_loop(play, Pattern(name=program.name))
    assert sorted(slices)[len(slices) // 2] < 2


def test_a_walk_passes_ten_thousand_known_processes_in_steps(program, monkeypatch):
    """Nothing is to be looked at, and still it would take ten milliseconds in one go."""

    async def play(_loop, watching, _told):
        monkeypatch.setattr(processes, "_process_ids", lambda: iter(range(1, 10_000)))
        watching._names = dict.fromkeys(range(1, 10_000), "x")
        watching._young.clear()
        assert sum(1 for _ in watching._walk()) == -(-9_999 // processes._CHUNK)

    on_the_loop(play, Pattern(name=program.name))


@pytest.mark.parametrize("last_number", [None, "of before"])
def test_a_birth_that_the_kernel_does_not_tell_of_is_found_by_a_walk(program, start, monkeypatch, last_number):
    monkeypatch.setattr(processes, "last_number", lambda: last_number and 4)

    async def play(loop, watching, told):
        await until(lambda: told)
        start()
        await until(lambda: told[-1][1] == 1)

    on_the_loop(play, Pattern(name=program.name))


def test_a_birth_does_not_wait_for_a_walk(program, start, monkeypatch):
    monkeypatch.setattr(processes, "_WALK_EVERY", 1000)

    async def play(loop, watching, told):
        await until(lambda: told)
        start()
        await until(lambda: told[-1][1] == 1)

    on_the_loop(play, Pattern(name=program.name))


def test_a_thread_is_no_process():
    """Threads have numbers of the same kind, and the name and the arguments of their process."""
    release = threading.Event()

    async def play(loop, watching, told):
        await until(lambda: told)
        before = told[-1][1]
        threads = [threading.Thread(target=release.wait, args=(PATIENCE_S,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        await until(lambda: watching._turns > 2)
        release.set()
        assert told[-1][1] == before

    on_the_loop(play, Pattern(command_line=" ".join(_own_command_line())))


def _own_command_line() -> list[str]:
    return Path("/proc/self/cmdline").read_text().rstrip("\0").split("\0")


def test_one_whose_arguments_cannot_be_read_holds_up_nothing(program, start, monkeypatch):
    """As of a process that hangs with its memory locked, where `ps` hangs too."""
    release, asked, read = threading.Event(), [], processes._arguments_of

    def arguments_of(pid):
        if pid == os.getpid():
            asked.append(pid)
            release.wait(PATIENCE_S)
        return read(pid)

    monkeypatch.setattr(processes, "_arguments_of", arguments_of)

    async def play(loop, watching, told):
        turns = []
        carry_on = watching._next.callback

        def timed(now_ns):
            turns.append(loop.now_ns() - now_ns)
            carry_on(now_ns)

        watching._next.callback = timed
        await until(lambda: told)
        assert asked == [os.getpid()], "once"
        assert told[-1][1] == 0
        start()
        await until(lambda: told[-1][1] == 1)
        assert len(turns) > 4
        release.set()
        await until(lambda: os.getpid() not in watching._asked)

    on_the_loop(play, Pattern(name=program.name))
