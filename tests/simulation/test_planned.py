"""Planned moves lose nothing: always somebody who answers, never two for longer than a frame takes.

`python -m tests.simulation.test_planned 0 5000` runs more seeds, with one seed alone it prints the run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from vip_speaker.vrrp.types import MS

from tests.simulation.lan import World
from tests.simulation.scenario import GAP_NS, OVERLAP_NS, PlannedMoves, Shape, build, draw_shape, masters
from tests.simulation.search import search

SEEDS = range(160)
BATCH = 20


def simulate(seed: int) -> tuple[World, Shape, PlannedMoves]:
    world = World(seed)
    shape = draw_shape(world, fast=True)
    build(world, shape)
    moves = PlannedMoves(world, shape, moves=world.random.randint(1, 6), identities=world.random.random() < 0.3)
    world.run_until(moves.ends_at_ns)
    return world, shape, moves


def violations(seed: int) -> Iterator[str]:
    world, _, moves = simulate(seed)
    gap_ns = world.longest(world.answering, since_ns=moves.begins_at_ns, several=False)
    if gap_ns > GAP_NS:
        yield f"nobody answered for {gap_ns / MS:.1f} ms"
    overlap_ns = world.longest(world.answering, since_ns=0, several=True)
    if overlap_ns > OVERLAP_NS:
        yield f"two hosts answered for {overlap_ns / MS:.1f} ms"
    if len(masters(world)) != 1:
        yield f"masters at the end: {[host.name for host in masters(world)]}"


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_somebody_always_answers_and_never_two(first: int):
    for seed in range(first, first + BATCH):
        found = list(violations(seed))
        assert not found, f"seed {seed}: {found}"


if __name__ == "__main__":
    if len(sys.argv) == 2:
        world, shape, moves = simulate(int(sys.argv[1]))
        print(*world.trace, shape, moves.begins_at_ns / MS, sep="\n")
        print(*violations(int(sys.argv[1])), sep="\n")
        sys.exit(0)
    sys.exit(search(violations, int(sys.argv[1]), int(sys.argv[2])))
