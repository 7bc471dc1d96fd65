"""The sentences that a start on the wrong host ends with."""

from __future__ import annotations

import errno

import pytest
from vip_speaker.kernel import KernelError
from vip_speaker.kernel.host import check_requirements, keeps_marks

ALL, NONE = "CapEff:\t000001ffffffffff\n", "Name:\tx\nCapEff:\t0000000000002000\n"


def test_an_old_kernel_is_named() -> None:
    with pytest.raises(KernelError, match=r"kernel is 4\.19\.0-27-amd64; kube-vrrp needs 5\.4 or newer"):
        check_requirements(release="4.19.0-27-amd64", status=ALL)
    check_requirements(release="5.4.0", status=ALL)
    check_requirements(release="6.18.44", status=ALL)


def test_a_missing_capability_is_named() -> None:
    with pytest.raises(KernelError, match="NET_ADMIN"):
        check_requirements(release="6.1.0", status=NONE)


def test_marks_came_with_5_18() -> None:
    assert not keeps_marks("5.15.0-91-generic")
    assert keeps_marks("5.18.0")
    assert keeps_marks("6.1.0")


def test_an_error_says_what_and_why() -> None:
    assert str(KernelError("cannot", errno.ENODEV, "why")) == "cannot: No such device (ENODEV): why"
    assert str(KernelError("cannot")) == "cannot"
