"""What people read among a million rows: every list, filter and overview at the cost of a page."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet

from agents_app.models import Cycle
from executions_app import clock, ids
from executions_app.api.pagination import LOOKED_THROUGH
from executions_app.models import Execution
from executions_app.states import ACTIVE
from scheduler_app import overview
from tests.agents_app import objects
from tests.rest import ids_of, signed_in
from tests.scale.plans import MOST_SORTED, watched

EXECUTIONS = "/api/execution/executions"
ERRORS = "/api/errors/errors"
LETTERS = "/api/errors/dead-letters"
SCHEDULES = "/api/scheduler/schedules"
LISTS = [
    f"{EXECUTIONS}?",
    f"{EXECUTIONS}?count=capped",
    *(
        f"{EXECUTIONS}?status={one}"
        for one in (
            "pending", "queued", "running", "waiting", "completed", "failed", "cancelled",
            "failed,running", "failed,cancelled",
        )
    ),
    *(
        f"{EXECUTIONS}?{one}"
        for one in (
            "outcome=partial", "outcome=lost", "trigger=manual", "trigger=api", "worker=nobody",
            "priority=critical", "task_type=agent", "task_type=none", "search=nowhere",
            "search=%237", "search=7", "dead=true", "dead=false", "outcome=lost&count=capped",
            "status=failed&count=capped", "schedule_id={schedule}",
            "schedule_id={schedule}&outcome=lost", "created_before=2020-01-01T00:00:00Z",
        )
    ),
    *(
        f"{ERRORS}?{one}"
        for one in (
            "", "recovery_status=resolved", "recovery_status=retry_scheduled",
            "recovery_status=ignored", "severity=critical", "error_class=permanent",
            "fingerprint=f17", "fingerprint=none", "execution_id={execution}",
            "schedule_id={schedule}", "fingerprint=none&count=capped",
        )
    ),
    *(
        f"{LETTERS}?{one}"
        for one in ("", "handling=all", "handling=requeued", "error_class=lost",
                    "execution_id={execution}", "schedule_id={schedule}")
    ),
    *(
        f"{SCHEDULES}?{one}"
        for one in ("", "priority=low", "search=nowhere", "enabled=false", "task_type=none",
                    "is_paused=true", "is_paused=false")
    ),
    "/api/errors/status",
    "/api/scheduler/locks",
    "/api/scheduler/status",
    f"{EXECUTIONS}/{{number}}",
    f"{EXECUTIONS}/{{execution}}",
]  # fmt: skip

# Some 2,000 rows of each here: found in order or sorted, as PostgreSQL's sample of the rows says.
OF_WHAT_IS_ACTIVE = tuple(f"status={one}" for one in sorted(ACTIVE))

pytestmark = pytest.mark.usefixtures("large")


@pytest.fixture(params=["a superuser", "an owner"])
def reader(request: pytest.FixtureRequest) -> User:
    if request.param == "an owner":
        return User.objects.get(username="owner-3")
    return User.objects.create_superuser("root")


def test_every_list_and_filter_costs_a_page(reader: User) -> None:
    client = signed_in(reader)
    one = Execution.objects.filter(status="failed").order_by("id")[0]
    words = {"schedule": one.schedule_id, "execution": one.id, "number": one.number}
    for path in LISTS:
        with watched() as seen:
            answer = client.get(path.format(**words))

        assert answer.status_code in {200, 404}, path
        most_sorted = LOOKED_THROUGH if path.endswith(OF_WHAT_IS_ACTIVE) else MOST_SORTED
        # A row that is looked at may lie on a page of its own.
        seen.must_cost_little(pages=2 * LOOKED_THROUGH, sorted_rows=most_sorted)


def test_a_filter_without_an_index_finds_what_is_old_by_going_on(reader: User) -> None:
    client, found, pages = signed_in(reader), 0, 0
    following = f"{EXECUTIONS}?task_type=agent"
    while following and pages < 5:
        with watched() as seen:
            page = client.get(following).json()
        seen.must_cost_little(pages=2 * LOOKED_THROUGH)
        found, pages, following = found + len(page["results"]), pages + 1, page["next"]

    mine = Execution.objects.all() if reader.is_superuser else reader_rows(reader)
    assert following or mine.count() <= pages * LOOKED_THROUGH
    assert found > 0 or not reader.is_superuser


def test_the_sessions_of_an_agent_are_looked_for_at_the_cost_of_a_page(reader: User) -> None:
    agent = objects.agent()
    rows = Execution.objects.all() if reader.is_superuser else reader_rows(reader)
    old = rows.order_by("-id")[min(LOOKED_THROUGH + 10, rows.count() - 1)]
    Execution.objects.filter(id=old.id).update(
        snapshot={**old.snapshot, "task_config": {"agent": agent.name}}
    )
    Cycle.objects.create(
        id=ids.new(clock.now()),
        execution_id=old.id,
        owner_id=old.owner_id,
        token=ids.new(clock.now()),
        deadline=clock.now(),
    )
    client, following = signed_in(reader), f"/api/agents/{agent.id}/sessions"
    pages: list[list[str]] = []

    while following and len(pages) < 2:
        with watched() as seen:
            page = client.get(following).json()
        seen.must_cost_little(pages=4 * LOOKED_THROUGH)
        pages.append(ids_of(page))
        following = page["next"]

    assert pages[-1] == [str(old.id)]


def reader_rows(reader: User) -> QuerySet[Execution]:
    return Execution.objects.filter(owner_id=reader.pk)


def test_the_overview_is_read_in_small_statements(reader: User) -> None:
    with watched() as seen:
        shown = overview.read(reader, now=clock.now())

    assert len(shown.fires) == overview.FIRES_SHOWN
    seen.must_cost_little(pages=3 * overview.MOST_COUNTED, sorted_rows=overview.MOST_COUNTED + 1)
