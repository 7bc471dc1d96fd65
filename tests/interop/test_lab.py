"""`make lab` tells the whole story and ends by itself in time; the other peers' labs run the same steps."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.peers import CHECKOUT, checkout_environment


def test_the_walk_through_with_keepalived_on_the_second_host() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab", "--peer", "keepalived"],
        cwd=CHECKOUT,
        env=os.environ | checkout_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "✗" not in done.stdout
    assert "prio 210, authtype simple, intvl 1s, length 20" in done.stdout
    assert "had no answer" not in done.stdout, "a client noticed a move"
    assert time.monotonic() - began < 50
