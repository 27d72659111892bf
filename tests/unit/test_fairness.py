from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from huleedu.phases.fairness import FAVOURED, Ring, turn

QUEUES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1)


def served(queued: dict[str, int]) -> list[str]:
    """Return whose unit is served, one after another, until nothing is left."""
    ring, order = Ring(), []
    left = dict(queued)
    while left:
        ring, name = turn(ring, left)
        order.append(name)
        left = {other: units - (other == name) for other, units in left.items() if units > (other == name)}
    return order


@given(queued=QUEUES)
def test_everybody_is_served_once_in_every_round(queued: dict[str, int]) -> None:
    order = served(queued)
    assert Counter(order) == queued
    longest_wait = FAVOURED * len(queued)
    for name in queued:
        places = [-1, *(place for place, other in enumerate(order) if other == name)]
        assert max(later - earlier for earlier, later in pairwise(places)) <= longest_wait


def test_a_short_queue_behind_a_long_one_ends_almost_as_if_it_were_alone() -> None:
    order = served({"a long one": 500, "short": 20})
    last = max(place for place, name in enumerate(order) if name == "short")
    assert last < 1.25 * 20
    assert order[:last].count("a long one") >= 4  # which is never stopped


def test_whoever_comes_later_joins_at_the_end() -> None:
    ring, first = turn(Ring(), {"b": 9, "a": 9})
    assert first == "a"
    ring, _ = turn(ring, {"a": 9, "b": 9, "c": 9})
    assert ring.order == ("a", "b", "c")


def test_whoever_has_nothing_left_loses_its_turn_and_what_was_left_of_it() -> None:
    ring, name = turn(Ring(("a", "b"), left=3), {"b": 5})
    assert (name, ring) == ("b", Ring(("b",), left=0))
    assert turn(ring, {"a": 5, "b": 5}) == (Ring(("a", "b"), left=FAVOURED - 1), "a")
