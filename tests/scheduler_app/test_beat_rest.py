"""A beat that has nothing to do sleeps, whatever it did before."""

from __future__ import annotations

import pytest
from django.db import connection

from config.env import env
from executions_app.models import OutcomeInbox
from scheduler_app.beat import Metronome

pytestmark = pytest.mark.django_db(transaction=True)


def test_after_a_full_batch_of_outcomes_without_a_rest_the_beat_sleeps_again() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO outcome_inbox (id, execution_id, status, outcome, completed_at)"
            " SELECT cadenza_uuid7(clock_timestamp()), gen_random_uuid(), 'completed', 'ok', now()"
            " FROM generate_series(1, %s)",
            [env.scheduler_batch_size],
        )
    metronome = Metronome()

    after_a_full_batch, after_nothing = metronome.beat(), metronome.beat()

    assert not OutcomeInbox.objects.exists()
    assert after_a_full_batch == 0
    assert after_nothing > 0
