"""`python -m tests.lab --peer kube-vrrp|keepalived|frr`: exit 0 only if every step was seen."""

from __future__ import annotations

import argparse
import os
import sys

from tests.lab.story import NotSeenError
from tests.lab.walkthrough import play, stage
from tests.peers import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab", description="The keepalived walk-through on two hosts.")
    parser.add_argument("--peer", choices=sorted(KINDS), default="kube-vrrp", help="what runs on the second host")
    # what the walk-through itself is checked against: keepalived on both hosts
    parser.add_argument("--first", choices=sorted(KINDS), default="kube-vrrp", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("the lab makes network namespaces: run it as root", file=sys.stderr)
        return 2
    with stage(options.first, options.peer) as at:
        try:
            play(at)
        except (NotSeenError, AssertionError) as error:
            at.story.failed(str(error))
            for peer in (at.first, at.second):
                at.story.last_lines(f"what {peer.kind} on the {peer.host.name} host printed last:", peer.log)
            return 1
        at.story.end([])
    return 0


if __name__ == "__main__":
    sys.exit(main())
