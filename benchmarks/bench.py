"""What a target is given to measure with: the installation, the peers, how much and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.environment import Peers
from benchmarks.environment import Runs as PeerRuns
from benchmarks.installation import Installation
from benchmarks.profile import Profile, take
from benchmarks.quantities import gathered


@dataclass
class Bench:
    """One measuring session. `is_quick` asks for less of everything."""

    installation: Installation
    peers: Peers | None
    runs: int
    is_quick: bool
    tell: Callable[[str], None]

    def much(self, full: int, *, quick: int) -> int:
        """An amount of work."""
        return quick if self.is_quick else full

    def repeat(self, measure: Callable[[], Mapping[str, float]]) -> dict[str, list[float]]:
        """One number per run for every quantity that `measure` finds."""
        return gathered([measure() for _ in range(self.runs)])

    def profiled(self, run: Callable[[], object]) -> Profile | None:
        """Where the time of one further run goes, by the processes that run now; not if quick."""
        if self.is_quick:
            return None
        self.tell("  once more, to see where the time goes")
        return take(self.installation, run, sampler=self.peers.sampler if self.peers else None)

    def peer(
        self,
        script: str,
        what: str,
        *,
        runs: int = 0,
        django: str = "",
        **options: int,
    ) -> PeerRuns:
        """A peer's answer, without any run when no peers are measured."""
        if self.peers is None:
            return PeerRuns([], {})
        return self.peers.ask(script, what, django=django, runs=runs or self.runs, **options)


def column(runs: PeerRuns, key: str) -> Sequence[float]:
    """One quantity of a peer, run by run."""
    return [float(one[key]) for one in runs.runs]


def settings(**of: PeerRuns) -> dict[str, Any]:
    """The settings of the peers that were measured."""
    return {name: dict(runs.settings) for name, runs in of.items() if runs.runs}
