"""What comes before what: the steps of a plan, or the parts of a task, as a graph. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Final, Protocol, TypeVar

MOST_CYCLES: Final = 20


class Node(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def depends_on(self) -> tuple[str, ...]: ...


N = TypeVar("N", bound=Node)


def first_of_each(nodes: Iterable[N]) -> dict[str, N]:
    """By id; of several with one id, the first."""
    found: dict[str, N] = {}
    for one in nodes:
        found.setdefault(one.id, one)
    return found


def edges(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """What each depends on, without unknown ones and itself."""
    known = first_of_each(nodes)
    return {
        name: [one for one in node.depends_on if one in known and one != name]
        for name, node in known.items()
    }


def cycles(graph: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Rings of dependencies, each as `[a, b, a]` where a depends on b and b on a.

    At most MOST_CYCLES: after each, one dependency of the ring is taken to be gone (`to_cut`).
    """
    left = {name: list(others) for name, others in graph.items()}
    order = {name: place for place, name in enumerate(left)}
    for _ in range(MOST_CYCLES):
        ring = _a_cycle(left)
        if ring is None:
            return
        yield ring
        name, other = to_cut(ring, order=order)
        left[name].remove(other)


def to_cut(ring: Sequence[str], *, order: Mapping[str, int]) -> tuple[str, str]:
    """The dependency of a ring that goes: of the one that is listed first, on what comes later."""
    return min(pairwise(ring), key=lambda pair: order[pair[0]])


def levels(nodes: Sequence[N]) -> list[list[N]]:
    """Each node in the first level after all that it depends on, in the order they are listed.

    Raises ValueError if they depend on each other in a ring. Unknown dependencies count for none.
    """
    known = first_of_each(nodes)
    sorter = TopologicalSorter(edges(nodes))
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(f"The steps depend on each other: {' -> '.join(error.args[1])}") from None
    found: list[list[N]] = []
    while ready := set(sorter.get_ready()):
        found.append([node for name, node in known.items() if name in ready])
        sorter.done(*ready)
    return found


def _a_cycle(graph: Mapping[str, Sequence[str]]) -> list[str] | None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # graphlib says it from what is depended on to what depends on it.
        ring: list[str] = error.args[1]
        return ring[::-1]
    return None
