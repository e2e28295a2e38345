from __future__ import annotations

from scheduler_app import chart
from scheduler_app.chart import Minute


def test_an_empty_hour_has_sixty_empty_bars() -> None:
    drawn = chart.draw({})

    assert (len(drawn.bars), drawn.most) == (60, 0)
    assert not any(bar.parts for bar in drawn.bars)


def test_the_newest_minute_stands_at_the_right() -> None:
    drawn = chart.draw({0: Minute(0, completed=1), 59: Minute(59, completed=1)})

    assert [bar.parts[0].x for bar in drawn.bars if bar.parts] == [0, 590]


def test_the_busiest_minute_fills_the_height_and_its_parts_add_up() -> None:
    drawn = chart.draw({3: Minute(3, completed=5, failed=2, other=1)})

    (parts,) = [bar.parts for bar in drawn.bars if bar.parts]

    assert drawn.most == 8
    assert [part.kind for part in parts] == ["completed", "other", "failed"]
    assert sum(part.height for part in parts) == chart.HEIGHT
    assert parts[-1].y == 0


def test_one_failure_among_thousands_can_still_be_seen() -> None:
    drawn = chart.draw({0: Minute(0, completed=5_000, failed=1)})

    failed = drawn.bars[-1].parts[-1]

    assert (failed.kind, failed.height) == ("failed", chart.LEAST_VISIBLE)
    assert failed.y >= 0
