"""Random lives of a few executions: after every step the rows say what the model says."""

from __future__ import annotations

import logging
import random
from typing import Final

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from executions_app.states import TRANSITIONS, ExecutionStatus
from tests.properties.beats import Beats
from tests.properties.machine import MOST
from tests.properties.people import People
from tests.properties.workers import Workers

SAME_LIVES_EVERY_TIME: Final = settings(
    max_examples=20,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
LATE_WRITERS: Final = {"report", "complete", "fail", "stop", "hand_back", "ask"}
TOO_LATE: Final = {"release", "cancel", "requeue", "discard", "approve", "refuse"}
VERBS: Final = (
    *("create", "queue_due", "rescue", "draw"),
    *("unpublish", "publish_unsent", "publish_overdue"),
    *("claim_one", "claim_one", "claim_slice", "claim_slice"),
    *("report", "renew", "complete", "fail", "fail", "stop", "hand_back", "vanish"),
    *("release", "cancel", "requeue", "requeue", "discard", "discard"),
    *("ask", "ask", "approve", "approve", "refuse"),
    *("make_due", "switch_recovery"),
)
ARROWS: Final = {
    (source.value, target.value)
    for source, targets in TRANSITIONS[ExecutionStatus].items()
    for target in targets
}
LIVES: Final = 16
ACTS: Final = 60

logger = logging.getLogger(__name__)


class Lives(Workers, Beats, People):
    """All of them at once, on the same few executions.

    One rule, not one per verb: Hypothesis leaves out a random part of the rules in every example,
    and a life needs nearly all of them.
    """

    @rule(
        verb=st.sampled_from(VERBS),
        chosen=st.lists(st.integers(0, MOST - 1), min_size=1, max_size=4),
        number=st.integers(0, 6),
    )
    def act(self, verb: str, chosen: list[int], number: int) -> None:
        getattr(self, verb)(chosen, number)


@pytest.fixture
def owner(transactional_db: None) -> User:
    return User.objects.create_user("owner")


def test_any_sequence_of_moves_leaves_the_rows_that_the_model_says(owner: User) -> None:
    run_state_machine_as_test(Lives, settings=SAME_LIVES_EVERY_TIME)


def test_long_lives_of_pure_chance_take_every_arrow_and_agree_with_the_model(owner: User) -> None:
    """Hypothesis finds short lives and makes them shorter; dice wander farther from each other."""
    dice = random.Random(7)

    lives = [live(dice) for _ in range(LIVES)]

    assert {arrow for one in lives for arrow in one.arrows} == ARROWS
    assert {verb for one in lives for verb in one.refused} == LATE_WRITERS | TOO_LATE


def live(dice: random.Random) -> Lives:
    lives = Lives()
    lives.begin([dice.randint(1, 3) for _ in range(3)])
    for _ in range(ACTS):
        verb, number = dice.choice(VERBS), dice.randrange(7)
        chosen = [dice.randrange(MOST) for _ in range(dice.randint(1, 4))]
        logger.info("lives.act(%r, %s, %s)", verb, chosen, number)  # shown if it fails
        lives.act(verb, chosen, number)
        lives.the_rows_say_what_the_models_say()
    return lives
