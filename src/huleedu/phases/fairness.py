"""Who is served next: round robin, with a larger quantum for the shortest queue.

Plain round robin makes a short queue behind a long one take twice its time. Here the queue with the least left gets
several units a turn, so it ends almost as if it were alone, and the long one still gets its unit every turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

QUANTUM = 1
FAVOURED = 6
"""Units a turn for the shortest queue: it gets 6 of 7 when two compete, the longer one is never stopped."""


class Ring(NamedTuple):
    """Queues in the order of their turns; the first is being served and may take `left` units more."""

    order: tuple[str, ...] = ()
    left: int = 0


def turn(ring: Ring, queued: Mapping[str, int]) -> tuple[Ring, str]:
    """Return whose unit is served next, and the ring after it. `queued` is what each queue has left, in units.

    A queue that has nothing left loses its turn; a new one joins at the end.
    """
    known = [name for name in ring.order if name in queued]
    order = known + sorted(set(queued) - set(known))
    left = ring.left
    if not known or known[0] != ring.order[0]:  # whoever was being served has left: the next one's turn begins
        left = _quantum(order[0], queued)
    elif not left:
        order.append(order.pop(0))
        left = _quantum(order[0], queued)
    return Ring(tuple(order), left - 1), order[0]


def _quantum(name: str, queued: Mapping[str, int]) -> int:
    return FAVOURED if len(queued) > 1 and queued[name] == min(queued.values()) else QUANTUM
