"""Renewals beside the loop: nothing is sent after it was cancelled or ran out, and nobody waits without need."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

import pytest
from vip_speaker.kernel import Assigned, KernelError
from vip_speaker.kernel.netlink import Refusal
from vip_speaker.kernel.renewal import Renewal, Renewed, Renewer


class FakeRequests:
    """Stands for netlink.Requests; `gate` closed is the kernel's lock held by somebody else."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.refuse: dict[bytes, int] = {}
        self.broken = False

    def send(self, messages: Sequence[bytes]) -> list[Refusal]:
        self.sent.append(list(messages))
        assert self.gate.wait(20)
        if self.broken:
            raise KernelError("cannot send", 105)
        return [Refusal(index=index, code=self.refuse[one]) for index, one in enumerate(messages) if one in self.refuse]

    def close(self) -> None:
        self.gate.set()


@pytest.fixture(name="requests")
def _requests() -> FakeRequests:
    return FakeRequests()


@pytest.fixture(name="renewer")
def _renewer(requests: FakeRequests) -> Iterator[Renewer]:
    renewer = Renewer(requests)  # type: ignore[arg-type]
    yield renewer
    requests.gate.set()
    renewer.close()


def assigned(number: int) -> Assigned:
    return Assigned(ifindex=2, ip=ip_address(f"10.0.0.{number}"), prefix_length=32)


def renewal(number: int, text: str = "", until_ns: int | None = None) -> Renewal:
    return Renewal(assigned=assigned(number), message=(text or str(number)).encode(), lifetime_s=4, until_ns=until_ns)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def results(renewer: Renewer) -> list[Renewed]:
    ready, _, _ = select.select([renewer], [], [], 20)
    assert ready
    until(renewer.idle)
    return renewer.take_results()


def test_what_is_submitted_is_sent_and_told(renewer: Renewer, requests: FakeRequests) -> None:
    renewer.submit([renewal(1), renewal(2)])
    told = results(renewer)
    assert [(one.assigned, one.error) for one in told] == [(assigned(1), None), (assigned(2), None)]
    assert [one for slice_ in requests.sent for one in slice_] == [b"1", b"2"]
    assert renewer.take_results() == []


def test_what_the_kernel_refuses_is_told(renewer: Renewer, requests: FakeRequests) -> None:
    requests.refuse[b"2"] = 19
    renewer.submit([renewal(1), renewal(2)])
    first, second = results(renewer)
    assert first.error is None
    assert second.error is not None
    assert second.error.code == 19
    requests.broken = True
    renewer.submit([renewal(1)])
    (broken,) = results(renewer)
    assert broken.error is not None
    assert broken.error.code == 105


def test_what_ran_out_before_its_turn_is_not_sent(renewer: Renewer, requests: FakeRequests) -> None:
    renewer.submit([renewal(1, until_ns=time.monotonic_ns()), renewal(2, until_ns=time.monotonic_ns() + 10**12)])
    assert [one.assigned for one in results(renewer)] == [assigned(2)]
    assert [one for slice_ in requests.sent for one in slice_] == [b"2"]


def test_the_loop_does_not_wait_for_the_kernel(renewer: Renewer, requests: FakeRequests) -> None:
    requests.gate.clear()
    renewer.submit([renewal(1)])
    until(lambda: requests.sent)
    renewer.submit([renewal(2)])  # returns, though the kernel does not
    renewer.cancel([assigned(2)])  # returns as well: only 1 is on its way
    renewer.submit([renewal(3, "old")])
    renewer.submit([renewal(3, "new")])
    requests.gate.set()
    until(renewer.idle)
    assert [one for slice_ in requests.sent for one in slice_] == [b"1", b"new"]


def test_a_cancel_waits_for_what_is_on_its_way(renewer: Renewer, requests: FakeRequests) -> None:
    requests.gate.clear()
    renewer.submit([renewal(1)])
    until(lambda: requests.sent)
    opener = threading.Timer(0.1, requests.gate.set)
    opener.start()
    renewer.cancel([assigned(1)])
    assert requests.gate.is_set()
    opener.join()


def test_a_renewal_is_never_sent_after_its_cancel(renewer: Renewer, requests: FakeRequests) -> None:
    for _ in range(100):
        renewer.submit([renewal(number) for number in range(100)])
        renewer.cancel([assigned(number) for number in range(100)])
        before = len(requests.sent)
        sent = [one for slice_ in requests.sent[before - 1 :] for one in slice_]
        time.sleep(0)
        after = [one for slice_ in requests.sent[before:] for one in slice_]
        assert after == [], sent


def test_every_submit_is_carried_out_in_the_end(renewer: Renewer, requests: FakeRequests) -> None:
    for number in range(2000):
        renewer.submit([renewal(1, str(number))])
    until(renewer.idle)
    assert requests.sent[-1][-1] == b"1999"
