"""`manage.py benchmark`, as far as it goes without measuring."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from config.management.commands import benchmark


def test_an_unknown_target_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CommandError, match=r"no target 'T99'; known are T1, T2"):
        call_command("benchmark", "T99")


def test_no_run_at_all_is_refused() -> None:
    with pytest.raises(CommandError, match="--runs must be at least 1"):
        call_command("benchmark", "T1", "--runs", "-1")


def test_targets_are_chosen_by_name_in_any_case_and_measured_in_the_order_of_the_table() -> None:
    assert [one.name for one in benchmark._chosen(["t5", "T1"])] == ["T1", "T5"]
    assert len(benchmark._chosen([])) > 5
