"""Which arrows of the state machines exist, and which of them a journey takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from tests.processes import CHECKOUT

Journey = TypeVar("Journey", bound=Callable[..., None])
Arrow = tuple[str, str]

WALKED: dict[str, set[Arrow]] = {"Execution": set(), "Error record": set()}
# Nothing writes a record that is `pending`: the arrows out of it wait for who will.
NO_WAY_IN: Final = {
    ("pending", target) for target in ("retrying", "resolved", "ignored", "escalated")
}


def walks(machine: str, *arrows: str) -> Callable[[Journey], Journey]:
    """Say which arrows (`a -> b`) a journey takes."""

    def mark(journey: Journey) -> Journey:
        for arrow in arrows:
            source, _, target = arrow.partition(" -> ")
            WALKED[machine].add((source, target))
        return journey

    return mark


def built(machine: str) -> set[Arrow]:
    """The arrows of docs/state_machines.md that are not marked as later."""
    text = (CHECKOUT / "docs" / "state_machines.md").read_text()
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    table = next(part for part in section if part.startswith(f"{machine}\n"))
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (.+) \|$", table, flags=re.MULTILINE)
    arrows = {(source, target) for source, target, who in rows if not who.startswith("*later*")}
    return arrows - {("from", "to")}
