"""The table of targets, and what some of them make of what they see."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest

from benchmarks import handlers, targets
from benchmarks.installation import Installation, MeasurementImpossible
from benchmarks.peers import watch
from benchmarks.targets import arrivals, tenants, urgent

WITH_A_MUST = {
    *("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T10", "T11", "T14", "T16"),
    *("N-16", "N-18"),
}


def test_every_target_has_a_name_of_its_own_and_the_demanding_ones_a_must() -> None:
    assert len(targets.BY_NAME) == len(targets.ALL)
    demanding = {
        one.name for one in targets.ALL if any(check.kind == "must" for check in one.checks)
    }
    assert demanding == WITH_A_MUST


def test_every_module_of_a_target_has_its_line_in_the_table() -> None:
    folder = Path(targets.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}

    assert modules == {one.measure.__module__.rpartition(".")[2] for one in targets.ALL}


def test_the_wait_of_critical_work_and_the_part_of_low_are_of_the_same_window() -> None:
    starts = {"low 1": 9.0, "low 2": 10.1, "low 3": 10.9, "urgent 1": 10.0, "urgent 2": 10.5}

    found = urgent.judged(starts, critical={"urgent 1", "urgent 2"}, published_at=10.0)

    assert found[urgent.START] == pytest.approx(475.0)
    assert found[urgent.SHARE] == pytest.approx(100 / 3)


def test_the_waits_of_the_quiet_tenants_are_from_the_wish_to_the_start() -> None:
    starts = {"loud": 9.0, "a": 10.1, "b": 10.2, "c": 11.0}

    found = tenants.judged(starts, wanted={"a": 10.0, "b": 10.0, "c": 10.5})

    assert found == pytest.approx(470.0)


def test_a_quiet_tenant_that_was_never_served_makes_no_number() -> None:
    with pytest.raises(MeasurementImpossible, match="1 of 2"):
        tenants.judged({"a": 10.1}, wanted={"a": 10.0, "b": 10.0})


def test_missing_and_doubled_arrivals_are_counted_together() -> None:
    found = arrivals.judged([(10.1, "a"), (10.2, "b"), (10.4, "a")], count=3, due_at=10.0)

    assert found[arrivals.WRONG] == 2.0
    assert found[arrivals.LATEST] == pytest.approx(400.0)


def test_no_arrival_at_all_is_a_result() -> None:
    found = arrivals.judged([], count=2, due_at=10.0)

    assert found == {
        arrivals.WRONG: 2.0,
        arrivals.LATEST: float("inf"),
        arrivals.P99: float("inf"),
    }


class Lists:
    """A Redis whose list has one length after the other."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = list(lengths)

    def pipeline(self, *, transaction: bool) -> Lists:
        assert not transaction
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def llen(self, _queue: str) -> None:
        pass

    def execute(self) -> list[int]:
        return [self.lengths.pop(0) if len(self.lengths) > 1 else self.lengths[0]]


def test_a_burst_counts_only_what_comes_after_the_first_look_and_ends_with_its_last_message() -> (
    None
):
    found = watch.burst(
        Lists(5, 5, 6, 8),
        ["normal"],
        due_at=0.0,
        is_complete=lambda length: length == 3,
        give_up_seconds=float("inf"),
    )

    assert found.messages == 3
    assert found.seconds > 0


def test_the_first_start_of_each_execution_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1").write_text("10.5 a\n11.0 b\n")
    (tmp_path / "2").write_text("10.2 a\n")
    ours = Installation.__new__(Installation)
    ours.environment = {handlers.CLOCKS: str(tmp_path)}

    assert ours.starts() == {"a": 10.2, "b": 11.0}
