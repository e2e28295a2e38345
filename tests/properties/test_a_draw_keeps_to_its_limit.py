"""A limit holds under every plan that PostgreSQL may choose, not only under the usual one."""

from __future__ import annotations

import pytest
from django.db import connection

from scheduler_app import consequences

PLANS = {
    "as it likes": (),
    "nested loops": ("hashjoin", "mergejoin", "hashagg", "sort", "material"),
    "hash joins": ("nestloop", "mergejoin"),
    "merge joins": ("nestloop", "hashjoin"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("plan", PLANS)
def test_a_draw_takes_no_more_outcomes_than_it_was_asked_for(plan: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("""
            INSERT INTO outcome_inbox (id, execution_id, status, outcome, completed_at)
            SELECT cadenza_uuid7(clock_timestamp()), gen_random_uuid(), 'completed', 'ok', now()
            FROM generate_series(1, 5)
        """)
        for method in PLANS[plan]:
            cursor.execute(f"SET LOCAL enable_{method} = off")

    drawn = [consequences.draw(limit=2) for _ in range(4)]

    assert drawn == [2, 2, 1, 0]
