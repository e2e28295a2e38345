"""What goes wrong with executions, in numbers for Prometheus: endpoints, errors, open troubles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from prometheus_client.metrics_core import Metric

from errors_app.breakers import store
from errors_app.breakers.store import Standing, Store, StoreAway
from errors_app.models import Breaker
from executions_app import ids
from executions_app.metrics import LATELY, MOST_COUNTED, MOST_LABELLED, gauge, read
from executions_app.states import BreakerStatus

ERRORS: Final = f"""
SELECT error_class, recovery_status, count(*) FROM (
    SELECT error_class, recovery_status FROM error_records
    WHERE id >= %(since)s AND (attempt > 0 OR execution_id IS NULL)
    ORDER BY id DESC LIMIT {MOST_COUNTED}
) AS recent GROUP BY error_class, recovery_status
"""  # noqa: S608  constants
ALERTS: Final = f"""
SELECT severity, count(*) FROM (
    SELECT severity FROM alerts WHERE status = 'firing' LIMIT {MOST_COUNTED}
) AS firing GROUP BY severity
"""  # noqa: S608  constants
TRANSITIONS: Final = f"""
SELECT to_state, count(*) FROM (
    SELECT to_state FROM breaker_transitions WHERE id >= %(since)s
    ORDER BY id DESC LIMIT {MOST_COUNTED}
) AS recent GROUP BY to_state
"""  # noqa: S608  constants


def families(now: datetime) -> Iterator[Metric]:
    """Errors of the last hour, alerts that fire, and the endpoints that were called last."""
    since = {"since": ids.floor(now - LATELY)}
    yield gauge(
        "errors_last_hour",
        f"Failed attempts within the last hour, the newest {MOST_COUNTED}",
        ["error_class", "recovery_status"],
        [(tuple(row[:2]), row[2]) for row in read(ERRORS, since)],
    )
    yield gauge("alerts_firing", "Alerts that fire, by severity", ["severity"], _alerts())
    yield from _endpoints()
    became = dict(read(TRANSITIONS, since))
    yield gauge(
        "breaker_transitions_last_hour",
        f"Changes of breakers to a state within the last hour, the newest {MOST_COUNTED}",
        ["state"],
        [((one.value,), became.get(one.value, 0)) for one in BreakerStatus],
    )


def _alerts() -> list[tuple[tuple[str], int]]:
    return [((severity,), number) for severity, number in read(ALERTS)]


def _endpoints() -> Iterator[Metric]:
    """Those that were seen last; without Redis the stored state is all there is."""
    rows = list(Breaker.objects.order_by("-seen_at", "id")[:MOST_LABELLED])
    live = _live([one.key for one in rows])
    states = {one.key: live[one.key].state if one.key in live else one.state for one in rows}
    yield gauge(
        "breaker_state",
        "1 for the state of the breaker of an endpoint",
        ["endpoint", "state"],
        [
            ((key, one.value), one == state)
            for key, state in states.items()
            for one in BreakerStatus
        ],
    )
    calls = [((key,), one.calls) for key, one in live.items()]
    yield gauge("endpoint_calls", "Calls of an endpoint within the window", ["endpoint"], calls)
    failures = [((key,), one.failures) for key, one in live.items()]
    yield gauge("endpoint_failures", "Failed calls within the window", ["endpoint"], failures)
    seconds = [((key,), one.latency_ms / max(1, one.calls) / 1000) for key, one in live.items()]
    text = "Mean duration of the calls within the window"
    yield gauge("endpoint_latency_seconds", text, ["endpoint"], seconds)


def _live(keys: list[str]) -> dict[str, Standing]:
    try:
        return dict(Store(store.client(), store.rules()).look(keys)) if keys else {}
    except StoreAway:
        return {}
