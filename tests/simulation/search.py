"""Many seeds of a simulation by hand, as in `python -m tests.simulation.test_chaos 0 1000`."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def search(violations: Callable[[int], Iterable[str]], first: int, last: int) -> int:
    """Print what each seed from `first` to below `last` violates; the status to exit with."""
    bad = 0
    for seed in range(first, last):
        found = list(violations(seed))
        if found:
            bad += 1
            print(seed, *found, sep="  ", flush=True)
    print(f"{last - first} seeds, {bad} bad")
    return 1 if bad else 0
