"""The one test that measures runs only when it is asked for by its marker."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "benchmark" in str(config.getoption("-m")):
        return
    measuring = [
        one for one in items if HERE in one.path.parents and one.get_closest_marker("benchmark")
    ]
    config.hook.pytest_deselected(items=measuring)
    items[:] = [one for one in items if one not in measuring]
