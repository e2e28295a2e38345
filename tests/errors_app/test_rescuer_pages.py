"""Many leases that end together: a page at a time, each recovered once, none kept from it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Count
from django.db.models.functions import Now

from errors_app import rescuer
from errors_app.models import ErrorRecord
from errors_app.rescuer import Place
from executions_app.ledger import Claimed
from executions_app.models import Execution

Held = Callable[..., Claimed]
RNG = random.Random(7)


def lost(held: Held, number: int) -> list[Claimed]:
    """So many executions of a worker that is gone."""
    made = [held() for _ in range(number)]
    expired = Now() - timedelta(seconds=1)
    Execution.objects.filter(id__in=[one.id for one in made]).update(lease_expires_at=expired)
    return made


@pytest.mark.django_db
def test_more_than_a_page_is_recovered_page_after_page(held: Held) -> None:
    lost(held, 5)
    place = Place()

    pages = [(rescuer.rescue_lost(rng=RNG, most=2, place=place), place.has_more) for _ in range(3)]

    assert pages == [(2, True), (2, True), (1, False)]
    assert not Execution.objects.filter(status="running").exists()


@pytest.mark.django_db
def test_a_page_of_rows_that_cannot_be_recovered_keeps_no_other_from_it(held: Held) -> None:
    corrupt = lost(held, 2)
    Execution.objects.filter(id__in=[one.id for one in corrupt]).update(snapshot=[])
    (whole,) = lost(held, 1)
    place = Place()

    pages = [rescuer.rescue_lost(rng=RNG, most=2, place=place) for _ in range(3)]

    assert Execution.objects.get(id=whole.id).status == "pending"
    assert pages == [2, 1, 2]  # and then from the beginning, for what can be recovered meanwhile


@pytest.mark.django_db(transaction=True)
def test_two_rescuers_of_the_same_rows_recover_each_once(held: Held) -> None:
    lost(held, 24)
    begins = threading.Barrier(2)

    def rescue() -> int:
        place, found = Place(), 0
        begins.wait()
        try:
            while (page := rescuer.rescue_lost(rng=RNG, most=5, place=place)) or place.has_more:
                found += page
        finally:
            connection.close()
        return found

    with ThreadPoolExecutor(2) as both:
        recovered = sum(one.result() for one in [both.submit(rescue) for _ in range(2)])

    records = ErrorRecord.objects.values("execution_id").annotate(number=Count("id"))
    assert recovered == 24
    assert [one["number"] for one in records] == [1] * 24
    assert set(Execution.objects.values_list("status", "attempt")) == {("pending", 1)}
