"""What the figure of agent selection measures: real choices, and nothing left behind."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from agents_app.models import Agent, Cycle, Provider
from benchmarks.choosing_verbs import choose
from benchmarks.cycle_verbs import NAME


@pytest.mark.django_db(transaction=True)
def test_every_choice_finds_an_agent_and_nothing_of_it_stays() -> None:
    User.objects.create(username=NAME)

    found = choose(many=3, running=5, count=4)

    assert len(found["took_ms"]) == 4
    assert all(one > 0 for one in found["took_ms"])
    assert not any(rows.objects.exists() for rows in (Agent, Cycle, Provider))


@pytest.mark.django_db(transaction=True)
def test_where_all_places_are_taken_nothing_is_measured() -> None:
    User.objects.create(username=NAME)

    with pytest.raises(LookupError, match="place"):
        choose(many=2, running=10, count=1)
