"""Real threads beside the router's real loop."""

from __future__ import annotations

import asyncio
import threading
import time

from vip_speaker.health import aside as module
from vip_speaker.health.aside import Aside
from vip_speaker.health.facts import good
from vip_speaker.health.files import Files, Watched, number_in
from vip_speaker.router.loop import Loop
from vip_speaker.router.timers import Deadline

PATIENCE_S = 20


def on_the_loop(play):
    async def run():
        loop = Loop()
        aside = Aside(loop)
        try:
            await play(loop, aside)
        finally:
            aside.close()
            loop.close()

    asyncio.run(run())


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


def never(reason):
    raise AssertionError(reason)


def threads():
    return {one for one in threading.enumerate() if one.name.startswith("aside-")}


def test_work_is_done_in_order_by_one_thread_and_told_on_the_loop():
    told = []

    def work(number):
        where = threading.current_thread()
        return lambda: told.append((number, where.name, threading.current_thread() is threading.main_thread()))

    async def play(_loop, aside):
        for number in range(20):
            aside.do(lambda number=number: work(number), never)
            await until(lambda number=number: len(told) > number)

    before = threads()
    on_the_loop(play)
    assert told == [(number, "aside-1", True) for number in range(20)]
    assert not (threads() - before) or all_end(threads() - before)


def all_end(left):
    for one in left:
        one.join(PATIENCE_S)
    return not any(one.is_alive() for one in left)


def test_what_goes_wrong_is_told_and_the_thread_goes_on(monkeypatch):
    monkeypatch.setattr(module, "MAXIMUM_THREADS", 1)
    told = []

    def wrong():
        raise RuntimeError("nobody thought of this")

    async def play(_loop, aside):
        for number in range(3):
            aside.do(wrong, told.append)
            aside.do(lambda number=number: lambda: told.append(number), never)
        await until(lambda: len(told) == 6)

    before = threads()
    on_the_loop(play)
    why = "RuntimeError: nobody thought of this"
    assert told == [why, 0, why, 1, why, 2]
    assert all_end(threads() - before)


def test_what_hangs_holds_up_nobody_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(module, "MAXIMUM_THREADS", 3)
    release, told = threading.Event(), []

    def hang(number):
        assert release.wait(PATIENCE_S)
        return lambda: told.append(number)

    async def play(_loop, aside):
        for number in range(2):
            aside.do(lambda number=number: hang(number), never)
        aside.do(lambda: lambda: told.append("quick"), never)
        await until(lambda: told == ["quick"])
        aside.do(lambda: hang(2), never)
        aside.do(lambda: lambda: told.append("late"), never)  # every thread hangs
        assert len(threads() - before) == 3
        await asyncio.sleep(0.05)
        assert told == ["quick"]
        release.set()
        await until(lambda: len(told) == 5)

    before = threads()
    on_the_loop(play)
    assert set(told) == {"quick", 0, 1, 2, "late"}
    assert all_end(threads() - before)


def test_a_file_that_hangs_delays_no_advertisement_and_no_other_file(tmp_path):
    """As on a mount whose server is gone; deadlines of the loop stand for advertisements."""
    release, told, lateness = threading.Event(), [], []
    tell = told.append
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "value").write_text("7")

    def hang(_path):
        assert release.wait(PATIENCE_S)
        return good("it came back")

    async def play(loop, aside):
        files = Files(loop, aside)
        until_ns = loop.now_ns() + 300_000_000

        def due(_now_ns):
            lateness.append(loop.now_ns() - due_at[0])
            due_at[0] = loop.now_ns() + 5_000_000
            loop.adverts.set(advert, due_at[0])

        due_at = [loop.now_ns()]
        advert = Deadline(due)
        loop.adverts.set(advert, due_at[0])
        hung, other = tmp_path / "hung", tmp_path / "other" / "value"
        files.watch(Watched(at=hung, path=hung, look=hang, told=tell))
        files.watch(Watched(at=other, path=other, look=lambda at: number_in(at, at), told=tell))
        loop.rearm()
        await until(lambda: told)
        assert told[0].number == 7
        await until(lambda: loop.now_ns() > until_ns)
        assert len(told) == 1
        release.set()
        await until(lambda: len(told) == 2)
        assert told[1].reason == "it came back"
        files.unwatch(hung, tell)
        files.unwatch(other, tell)

    on_the_loop(play)
    assert len(lateness) > 20
    assert sorted(lateness)[len(lateness) // 2] < 50_000_000, "not held up by what hung for 300 ms"
    assert max(lateness) < 250_000_000


def test_the_end_waits_for_nothing_that_hangs():
    release = threading.Event()

    async def play(_loop, aside):
        aside.do(lambda: release.wait(PATIENCE_S) and (lambda: None), never)

    began = time.monotonic()
    on_the_loop(play)
    assert time.monotonic() - began < PATIENCE_S / 2
    release.set()
