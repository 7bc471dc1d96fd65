"""What weights come to, and which of them move nothing."""

import pytest
from vip_api.model import Track
from vip_api.weights import contribution, too_small


def check(weight, *, reverse=False, kind="process", **fields):
    return Track(name="chk", kind=kind, check=tuple(fields.items()), weight=weight, reverse=reverse)


@pytest.mark.parametrize(
    ("weight", "reverse", "good", "bad"),
    [(10, False, 10, 0), (-10, False, 0, -10), (10, True, -10, 0), (-10, True, 0, 10), (0, False, 0, 0)],
)
def test_the_table(weight, reverse, good, bad):
    track = check(weight, reverse=reverse)
    assert (contribution(track, good=True), contribution(track, good=False)) == (good, bad)


def weak(*tracks, own, below=None):
    successor = None if below is None else (f"n{below}", below)
    return [text for _, text in too_small(tracks, node="n", own=own, successor=successor)]


@pytest.mark.parametrize(
    ("weight", "own", "below", "said"),
    [
        (10, 210, 200, "it takes 11 or more"),
        (11, 210, 200, None),
        (-10, 210, 200, "from 210 to 200"),
        (-10, 210, None, None),
        (-10, 255, 200, "never changes"),
        (-50, 3, 1, "from 3 to 1 when it fails, not below the 1 of n1"),
        (50, 250, 240, None),
        (0, 210, 200, None),
    ],
)
def test_the_next_one_below_decides(weight, own, below, said):
    texts = weak(check(weight), own=own, below=below)
    assert len(texts) == (said is not None)
    assert all(said in text for text in texts)


def test_what_all_checks_add_together_is_the_same_everywhere():
    assert weak(check(10), check(-11), own=210, below=200) == [
        "weight 10 brings n from 220 to 210 when it fails, not below the 210 of n200: nothing moves; "
        "it takes 11 or more"
    ]


def test_numbers_are_not_judged():
    assert weak(check(1, kind="file", path="/x"), own=210, below=200) == []
    assert len(weak(check(1, kind="file", path="/x", exists=True), own=210, below=200)) == 1
