"""Outside an execution's life: compares the tables with the endpoints' ledger and the oracle.

`judge` answers one sentence for everything that does not; silence is the proof. It knows the rules
(one record per fire, one execution per dispatched fire, one call per attempt, one end) but imports
nothing of the code that keeps them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from config.demo import judge_ai, oracle
from config.demo.evidence import Error, Evidence, Execution, Fire, Schedule
from config.demo.ledger import Call
from config.demo.schedules import DemoSchedule

LATEST_DISPATCH: Final = timedelta(seconds=30)
AHEAD: Final = timedelta(seconds=1)  # the most that a fire may be written down before its instant
NAMED_AT_MOST: Final = 3
WITHOUT_ERROR: Final = {  # how many attempts have no error record
    "pending": {0},
    "queued": {0},
    "running": {1},
    "waiting": {0, 1},
    "completed": {1},
    "failed": {0},
    "cancelled": {0, 1},
}
MAY_BE_UNSENT: Final = frozenset({"lost", "timeout"})  # the attempt may have ended before its call


def judge(evidence: Evidence, expected: Mapping[str, DemoSchedule]) -> list[str]:
    """Everything in which the tables, the ledger, the oracle and the expectations disagree."""
    return [
        *_schedules_fired(evidence),
        *_fires_have_executions(evidence),
        *_attempts_add_up(evidence),
        *_ends_are_settled(evidence),
        *_calls_have_executions(evidence),
        *_executions_have_calls(evidence),
        *judge_ai.judge(evidence, expected),
        *_expectations_are_met(evidence, expected),
    ]


def _schedules_fired(evidence: Evidence) -> Iterator[str]:
    fires: defaultdict[UUID, list[Fire]] = defaultdict(list)
    for fire in evidence.fires:
        fires[fire.schedule_id].append(fire)
    for schedule in evidence.schedules:
        if schedule.version > 1:
            yield (
                f"{schedule.name!r} was edited (version {schedule.version}); its fires cannot be "
                "judged from its present rule"
            )
        elif schedule.trigger_type == "time_based":
            yield from _one_schedule_fired(schedule, fires[schedule.id], evidence)
        elif fires[schedule.id]:
            yield f"{schedule.name!r} has no rule in time and yet records of fires"


def _one_schedule_fired(
    schedule: Schedule, fires: Sequence[Fire], evidence: Evidence
) -> Iterator[str]:
    last = max((one.nominal_until or one.nominal_at for one in fires), default=evidence.judged_at)
    possible = oracle.fires(
        schedule.schedule_type,
        schedule.schedule_config,
        zone=schedule.timezone,
        since=schedule.anchor_at,
        until=min(evidence.read_at + AHEAD, max(evidence.judged_at, last)),
    )
    yield from _keeps_going(schedule, evidence.judged_at)
    recorded, wrong_sums = _recorded(fires, possible)
    due_later = schedule.next_run_at or evidence.judged_at + timedelta.resolution
    must = [one for one in possible if one <= evidence.judged_at and one < due_later]
    for words, instants in (
        ("no record of its fire at", [one for one in must if not recorded[one]]),
        ("more than one record of its fire at", [one for one, n in recorded.items() if n > 1]),
        ("a record of a fire that its rule does not have, at", set(recorded).difference(possible)),
        ("a summary that counts wrongly, from", wrong_sums),
    ):
        if instants:
            yield f"{schedule.name!r} has {words} {_listed(sorted(instants))}"


def _keeps_going(schedule: Schedule, judged_at: datetime) -> Iterator[str]:
    if schedule.schedule_type == "one_time":
        return
    if not schedule.enabled or schedule.next_run_at is None:
        yield f"{schedule.name!r} has stopped: it has no next run"
    elif schedule.next_run_at < judged_at - LATEST_DISPATCH:
        yield f"{schedule.name!r} is due since {_words(schedule.next_run_at)} and not dispatched"


def _recorded(
    fires: Iterable[Fire], possible: Sequence[datetime]
) -> tuple[Counter[datetime], list[datetime]]:
    """How many records each instant has, and the summaries whose count is not that of the rule."""
    recorded: Counter[datetime] = Counter()
    wrong_sums: list[datetime] = []
    for fire in fires:
        if fire.nominal_until is None:
            recorded[fire.nominal_at] += 1
            continue
        within = [one for one in possible if fire.nominal_at <= one <= fire.nominal_until]
        recorded.update(within)
        if len(within) != fire.count:
            wrong_sums.append(fire.nominal_at)
    return recorded, wrong_sums


def _fires_have_executions(evidence: Evidence) -> Iterator[str]:
    executions = {one.id: one for one in evidence.executions}
    names = {one.id: one.name for one in evidence.schedules}
    dispatched: Counter[UUID | None] = Counter()
    for fire in evidence.fires:
        name, at = names.get(fire.schedule_id, str(fire.schedule_id)), _words(fire.nominal_at)
        execution = executions.get(fire.execution_id) if fire.execution_id else None
        if fire.reason != "dispatched":
            if fire.execution_id is not None:
                yield f"The fire of {name!r} at {at} is {fire.reason} and yet has an execution"
        elif execution is None:
            yield f"The fire of {name!r} at {at} was dispatched, but its execution is missing"
        else:
            dispatched[execution.id] += 1
            if (execution.schedule_id, execution.nominal_at) != (fire.schedule_id, fire.nominal_at):
                yield f"Execution #{execution.number} is not of the fire of {name!r} at {at}"
    for execution in evidence.executions:
        wanted = 1 if execution.trigger == "time" else 0
        if dispatched[execution.id] != wanted:
            yield (
                f"Execution #{execution.number} (trigger {execution.trigger!r}) has "
                f"{dispatched[execution.id]} records of a fire instead of {wanted}"
            )


def _attempts_add_up(evidence: Evidence) -> Iterator[str]:
    errors = Counter(one.execution_id for one in evidence.errors)
    for one in evidence.executions:
        failed = errors[one.id]
        if one.attempt - failed not in WITHOUT_ERROR[one.status]:
            yield (
                f"Execution #{one.number} is {one.status} after {one.attempt} attempts, of which "
                f"{failed} have an error record"
            )


def _ends_are_settled(evidence: Evidence) -> Iterator[str]:
    errors = _errors(evidence)
    for one in evidence.executions:
        is_buried = one.id in evidence.dead_letters and one.dead_letter_at is not None
        if one.status == "failed" and not is_buried:
            yield f"Execution #{one.number} failed and is not among the dead letters"
        if one.status != "failed" and (one.id in evidence.dead_letters or one.dead_letter_at):
            yield f"Execution #{one.number} is {one.status} and yet among the dead letters"
        last = errors[one.id][-1:] if one.status == "failed" else []
        if last and last[0].recovery_status != "escalated":
            yield (
                f"Execution #{one.number} was given up, but its last error is "
                f"{last[0].recovery_status!r} instead of escalated"
            )


def _calls_have_executions(evidence: Evidence) -> Iterator[str]:
    known = {str(one.id): one for one in evidence.executions}
    steps = {str(one.id): one for one in evidence.steps}
    for call in evidence.calls:
        arrived_at = datetime.fromtimestamp(call.arrived_at, UTC)
        execution = known.get(call.idempotency_key or "")
        step = steps.get(call.idempotency_key or "")
        where = f"The call of {call.endpoint} at {_words(arrived_at)}"
        if step is not None:
            if not judge_ai.belongs(call, step):
                yield f"{where} carries the key of step {step.name!r}, which is not for it"
        elif execution is None:
            if arrived_at <= evidence.judged_at:
                yield f"{where} (key {call.idempotency_key!r}) belongs to no execution"
        elif call.attempt is None:
            yield f"{where} for execution #{execution.number} does not say its attempt"
        elif execution.url is None or urlsplit(execution.url).path != call.endpoint:
            yield f"{where} carries the key of execution #{execution.number}, which is not for it"


def _executions_have_calls(evidence: Evidence) -> Iterator[str]:
    calls: defaultdict[str, defaultdict[int, list[Call]]]
    calls = defaultdict(lambda: defaultdict(list))
    for call in evidence.calls:
        if call.idempotency_key and call.attempt is not None:
            calls[call.idempotency_key][call.attempt].append(call)
    errors = _errors(evidence)
    for one in evidence.executions:
        by_attempt = calls.get(str(one.id), defaultdict(list))
        for attempt, made in by_attempt.items():
            if len(made) > 1:
                yield (
                    f"Execution #{one.number} called {made[0].endpoint} {len(made)} times in "
                    f"attempt {attempt}"
                )
        if one.has_ended and one.task_type == "http_request":
            told = [error for error in errors[one.id] if _must_be_sent(error, evidence)]
            yield from _calls_tell_the_same(one, by_attempt, told)


def _must_be_sent(error: Error, evidence: Evidence) -> bool:
    """Whether the endpoint must know the failed attempt: not if nobody listened there yet."""
    since = evidence.listening_since
    was_early = since is not None and error.started_at is not None and error.started_at < since
    return error.error_class not in MAY_BE_UNSENT and not was_early


def _calls_tell_the_same(
    execution: Execution, calls: Mapping[int, list[Call]], errors: Sequence[Error]
) -> Iterator[str]:
    number = f"Execution #{execution.number}"
    beyond = sorted(attempt for attempt in calls if attempt > execution.attempt)
    if beyond:
        yield f"{number} made {execution.attempt} attempts, but attempt {beyond[0]} was called"
    if execution.status == "completed":
        answers = [one.status for one in calls.get(execution.attempt, [])]
        if not any(one.was_good for one in calls.get(execution.attempt, [])):
            yield f"{number} is completed, but the calls of its last attempt got {answers}"
    for error in errors:
        made = calls.get(error.attempt, [])
        if not made:
            yield f"{number} has an error in attempt {error.attempt}, which its endpoint never saw"
        elif any(one.was_good for one in made):
            yield f"{number} has an error in attempt {error.attempt}, which its endpoint answered"


def _expectations_are_met(
    evidence: Evidence, expected: Mapping[str, DemoSchedule]
) -> Iterator[str]:
    names = {one.id: one.name for one in evidence.schedules}
    ended: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for execution in evidence.executions:
        if execution.schedule_id in names and execution.has_ended:
            ended[names[execution.schedule_id]][execution.status] += 1
    for name in sorted(set(expected).difference(names.values())):
        yield f"The demo's schedule {name!r} is missing"
    for name in sorted(set(expected).intersection(names.values())):
        want, counts = expected[name], ended[name]
        how = want.always or "completed or failed"
        if not want.suffices(counts):
            yield f"{name!r} has {want.counted(counts)} ends ({how}) instead of {want.ends}"
        others = {status: n for status, n in counts.items() if want.always not in {"", status}}
        if others:
            yield f"{name!r} must always end {how}, but did otherwise: {others}"


def _errors(evidence: Evidence) -> defaultdict[UUID | None, list[Error]]:
    errors: defaultdict[UUID | None, list[Error]] = defaultdict(list)
    for error in evidence.errors:
        errors[error.execution_id].append(error)
    return errors


def _listed(instants: Sequence[datetime]) -> str:
    words = ", ".join(_words(one) for one in instants[:NAMED_AT_MOST])
    more = len(instants) - NAMED_AT_MOST
    return f"{words} and {more} more" if more > 0 else words


def _words(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
