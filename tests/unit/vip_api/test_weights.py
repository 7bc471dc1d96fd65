"""What weights come to, and which of them move nothing."""

import re

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


@pytest.mark.parametrize(
    ("weights", "own", "below", "said"),
    [
        ((20,), 254, 252, "nothing moves: priorities are cut at 254; lower spec.priority by 20"),
        ((5,), 250, 240, "nothing moves: priorities are cut at 254; lower spec.priority by 7, and it takes 11 or more"),
        ((-5, 30), 240, 230, "priorities are cut at 254; lower spec.priority by 16, and it takes 11 or more"),
        ((-10, 30), 250, 248, "priorities are cut at 254; lower spec.priority by 26"),
        ((20, 253), 254, 252, "priorities are cut at 254; the weights that are added come to 273, lower them"),
    ],
)
def test_where_priorities_are_cut_a_larger_weight_is_no_help(weights, own, below, said):
    text = weak(*map(check, weights), own=own, below=below)[0]
    assert text.endswith(said)


@pytest.mark.parametrize("own", [254, 250, 200])
@pytest.mark.parametrize("apart", [1, 2, 30])
@pytest.mark.parametrize("others", [(), (7,), (-7,), (40,)])
@pytest.mark.parametrize("weight", [1, -1, 20, -20, 100])
def test_what_it_takes_is_what_helps(own, apart, others, weight):
    rest = [check(other) for other in others]
    for text in weak(check(weight), *rest, own=own, below=own - apart)[:1]:
        more = int(found[1]) if (found := re.search(r"it takes ([0-9]+) or more", text)) else abs(weight)
        lower = int(found[1]) if (found := re.search(r"lower spec.priority by ([0-9]+)", text)) else 0
        better = check(max(abs(weight), more) * (1 if weight > 0 else -1))
        tracks = [better, *rest]
        successor = ("n", own - lower - apart)
        still = [track for track, _ in too_small(tracks, node="n", own=own - lower, successor=successor)]
        assert not any(track is better for track in still), text


def test_numbers_are_not_judged():
    assert weak(check(1, kind="file", path="/x"), own=210, below=200) == []
    assert len(weak(check(1, kind="file", path="/x", exists=True), own=210, below=200)) == 1
