"""Fault tests without a line of the product that they alone would miss, and why there is none.

Each test function of the suite stands here or among the defences: `tests/architecture` looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BEATS: Final = "test_beats.py::test_"
CLOCK: Final = "test_clock.py::test_"
OUTAGES: Final = "test_outages.py::test_"
REDIS: Final = "test_redis.py::test_"
STRANGERS: Final = "test_strangers.py::test_"
WORKERS: Final = "test_workers.py::test_"

UNDEFENDED: Final[Mapping[str, str]] = {
    BEATS + "what_a_beat_had_committed_and_not_sent_is_sent_by_another": (
        "Without the line that sends again what was lost it waits for minutes; `test_killing` "
        "misses the same line."
    ),
    CLOCK + "a_clock_that_is_set_back_an_hour_drops_no_fire_and_doubles_none": (
        "Two things defend it, of which either is enough: a next run is kept and not counted anew "
        "from the clock, and a fire that is recorded is passed over."
    ),
    "test_herds.py::test_a_flood_of_urgent_work_does_not_starve_the_rest": (
        "Two things defend the patient, of which either is enough: a worker that looks at low "
        "first, which the test itself starts as the Procfile does, and aging."
    ),
    "test_killing.py::test_killed_children_cost_their_own_attempts_and_their_parent_serves_on": (
        "It does twenty times what `test_children` does once, which misses its line sooner."
    ),
    OUTAGES + "connections_that_are_cut_again_and_again_cost_nothing_but_time": (
        "Whoever is cut off connects anew by many lines, a few in each process; "
        "`test_outages` misses those that say so to who asks meanwhile."
    ),
    REDIS + "every_message_five_times_is_every_execution_once": (
        "Two guards defend it, of which either is enough: what runs is not claimed, and nothing "
        "is tried more often than it may be; `test_strangers` misses the first."
    ),
    REDIS + "what_is_due_while_redis_is_away_is_recorded_and_runs_when_it_is_back": (
        "Two lines defend it, of which either is enough: what was not sent is marked so, and what "
        "a new Redis cannot know is sent again."
    ),
    STRANGERS + "garbage_in_every_queue_costs_a_worker_at_most_a_restart": (
        "Celery ends at such a message, and the harness starts it again as the supervisor would: "
        "no line of the product is between."
    ),
    WORKERS + "a_segmentation_fault_costs_its_own_attempt": (
        "To the rescuer it is what any worker is that is gone: the test of a killed one misses "
        "its line."
    ),
    WORKERS + "a_worker_woken_after_its_lease_writes_nothing": (
        "Two guards defend it, of which either is enough: what has ended does not run any more, "
        "and no lease of it is left."
    ),
}
