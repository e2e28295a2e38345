"""What a step sends along with its call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents_app import calling
from agents_app.clients import http
from agents_app.cycle import going_on, rows
from agents_app.models import Cycle, CycleStage, Tier
from executions_app import clock, ids, steps
from executions_app.models import Execution
from tests.agents_app.cycle.driving import begun, carry_out, queued
from tests.agents_app.endpoints import registered
from tests.fakes.endpoint_server import Endpoints, endpoint_server

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoints]:
    """Which may be called, though its address is private."""
    door = http.Door(["127.0.0.1/32"])
    monkeypatch.setattr(http, "door", lambda: door)
    with endpoint_server() as made:
        yield made
    door.close()


def calling_once(server: Endpoints, *, correlation_id: str) -> Cycle:
    """A cycle with one step, which calls an endpoint."""
    execution_id = queued(endpoints=["warm"])
    Execution.objects.filter(id=execution_id).update(correlation_id=correlation_id)
    cycle = begun(execution_id)
    snapshot = calling.snapshot_of(registered(server.url("warm"), name="warm"))
    step = steps.NewStep(
        id=ids.new(clock.now()),
        position=0,
        wave=0,
        name="warm",
        config={"target": "endpoint", "name": "warm", "parameters": {}, "endpoint": snapshot},
    )
    steps.plan(execution_id, [step])
    rows.move(cycle, tier=Tier.DETERMINISTIC, stage=CycleStage.EXECUTE)
    going_on.look(cycle.id)
    return cycle


def test_a_call_carries_the_correlation_id_of_its_execution(server: Endpoints) -> None:
    cycle = calling_once(server, correlation_id="order-7")

    carry_out(cycle, "warm")

    (call,) = server.calls()
    assert call.request_id == "order-7"


def test_a_call_of_an_execution_without_one_carries_the_id_of_the_execution(
    server: Endpoints,
) -> None:
    cycle = calling_once(server, correlation_id="")

    carry_out(cycle, "warm")

    (call,) = server.calls()
    assert call.request_id == str(cycle.execution_id)
