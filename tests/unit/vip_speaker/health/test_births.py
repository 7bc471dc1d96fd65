"""Which numbers were given out since the last look."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest
from vip_speaker.health.births import MAXIMUM_BORN, Births, is_process, last_number


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ((100, 103), [101, 102, 103]),
        ((100, 100), []),
        ((32_000, 310), []),  # they began anew
        ((100, 100 + MAXIMUM_BORN), list(range(101, 101 + MAXIMUM_BORN))),
        ((100, 101 + MAXIMUM_BORN), []),
        ((None, 100), []),
        ((100, None), []),
    ],
)
def test_numbers(said, numbers):
    births = Births(iter(said).__next__)
    assert list(births.numbers()) == [], "nothing is known of before"
    assert list(births.numbers()) == numbers


def test_the_kernel_tells_of_a_child():
    births = Births(last_number)
    births.numbers()
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert child.pid in births.numbers()
            assert is_process(child.pid)
        finally:
            child.kill()
    assert not is_process(child.pid)


def test_a_thread_is_no_process():
    release, numbers = threading.Event(), []

    def wait():
        numbers.append(threading.get_native_id())
        release.wait(20)

    thread = threading.Thread(target=wait)
    thread.start()
    while not numbers:
        pass
    assert not is_process(numbers[0])
    assert is_process(os.getpid())
    release.set()
    thread.join()
