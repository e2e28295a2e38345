"""What executions are doing now, in numbers for Prometheus; read when it asks, by bounded queries.

Nothing is counted while executions run, but what a process was refused: the rows say it all, for
all processes at once. The floors
above have a module of this name each, and `config.metrics` puts them together. Labels are closed
lists or bounded; no id is ever one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from executions_app import ids, presence
from executions_app.states import ACTIVE
from executions_app.states import ExecutionStatus as Status

MOST_COUNTED: Final = 10_000
MOST_LABELLED: Final = 200
LATELY: Final = timedelta(hours=1)

Labels = Sequence[str]
Rows = Iterable[tuple[Sequence[Any], Any]]

OF_A_STATE: Final = """(SELECT status, queue, held_by, queued_at FROM task_executions
    WHERE status = '{status}' LIMIT %(most)s)"""
# Queue by queue, so that a long one hides nothing that waits in another, in the order of the index:
# those whose messages were sent longest ago. The few of a short queue are looked for among all.
QUEUED: Final = """(SELECT one.*
FROM (VALUES ('critical'), ('high'), ('normal'), ('low')) AS q(queue)
CROSS JOIN LATERAL (
    SELECT status, queue, held_by, queued_at FROM task_executions e
    WHERE status = 'queued' AND e.queue = q.queue ORDER BY published_at LIMIT %(most)s
) AS one)"""
ACTIVE_NOW: Final = """
SELECT status, queue, count(*), count(*) FILTER (WHERE held_by <> ''),
    extract(epoch FROM now() - min(queued_at) FILTER (WHERE status = 'queued'))::float8
FROM ({rows}) AS active GROUP BY status, queue
""".format(
    rows=" UNION ALL ".join(
        (QUEUED, *(OF_A_STATE.format(status=one) for one in sorted(ACTIVE - {Status.QUEUED})))
    )
)
CREATED_LATELY: Final = f"""
SELECT status, outcome, count(*) FROM (
    SELECT status, outcome FROM task_executions WHERE id >= %(since)s
    ORDER BY id DESC LIMIT {MOST_COUNTED}
) AS recent GROUP BY status, outcome
"""  # noqa: S608  constants
REFUSED: Final = f"""
SELECT DISTINCT ON (name) name, refused_claims, refused_writes FROM processes
WHERE kind = 'worker' AND stopped_at IS NULL AND seen_at >= %(alive)s
ORDER BY name, id DESC LIMIT {MOST_LABELLED}
"""  # noqa: S608  constants


def gauge(name: str, text: str, labels: Labels, rows: Rows) -> Metric:
    """A family of values that go up and down."""
    return _filled(GaugeMetricFamily(f"cadenza_{name}", text, labels=labels), rows)


def counter(name: str, text: str, labels: Labels, rows: Rows) -> Metric:
    """A family of values that only rise; its name is given the ending `_total`."""
    return _filled(CounterMetricFamily(f"cadenza_{name}", text, labels=labels), rows)


def read(statement: str, words: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """The rows that a statement answers."""
    with connection.cursor() as cursor:
        cursor.execute(statement, words)
        return list(cursor.fetchall())


def families(now: datetime) -> Iterator[Metric]:
    """Executions by state and queue, how long the oldest has waited, and what became of others."""
    active = read(ACTIVE_NOW, {"most": MOST_COUNTED})
    yield gauge(
        "executions",
        "Executions that have not ended, by state and queue; at most "
        f"{MOST_COUNTED} of a state, or of a queue if they are queued",
        ["status", "queue"],
        [((status, queue), number) for status, queue, number, _, _ in active],
    )
    yield gauge(
        "executions_held",
        "Pending executions that wait for room under a limit",
        ["queue"],
        [((queue,), held) for status, queue, _, held, _ in active if status == "pending"],
    )
    yield gauge(
        "queue_oldest_seconds",
        "How long the oldest execution of a queue has been waiting for a worker",
        ["queue"],
        [((queue,), max(0.0, age)) for _, queue, _, _, age in active if age is not None],
    )
    since = {"since": ids.floor(now - LATELY)}
    yield gauge(
        "executions_created_last_hour",
        f"Executions created within the last hour, the newest {MOST_COUNTED}, by what they are now",
        ["status", "outcome"],
        [(tuple(row[:2]), row[2]) for row in read(CREATED_LATELY, since)],
    )
    yield from _refused(now)


def _refused(now: datetime) -> Iterator[Metric]:
    refused = read(REFUSED, {"alive": now - presence.until_gone()})
    for place, name, text in (
        (1, "claims", "Executions that a message named and that were not to be had any more"),
        (2, "writes", "How often a run heard, or a write found, that its lease was gone"),
    ):
        rows = [((row[0],), row[place]) for row in refused]
        yield counter(f"refused_{name}", f"{text}; of the workers that live", ["worker"], rows)


def _filled(family: Any, rows: Rows) -> Metric:
    for labels, value in rows:
        family.add_metric([str(one) for one in labels], float(value))
    return family  # type: ignore[no-any-return]  # gauge or counter: both are a Metric
