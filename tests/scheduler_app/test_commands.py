"""`schedule`, `cron`, `execution`, `scheduler`: what a person does with schedules at a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from executions_app.models import AuditEntry, Execution
from scheduler_app.models import Schedule
from tests.agents_app.agents import make_cycle
from tests.terminal import Ended, run

CHECKOUT = Path(__file__).resolve().parents[2]
MakeSchedule = Callable[..., Schedule]
WORDS = ("--name", "nightly", "--task-type", "shell_command", "--task-config")
CONFIG = '{"command": ["echo", "hello"]}'


@pytest.fixture(autouse=True)
def root(owner: User) -> User:
    return User.objects.create_superuser("root")


def create(*arguments: str) -> Ended:
    return run("schedule", "create", *WORDS, CONFIG, *arguments, "--json")


def test_cron_is_explained_with_no_system_running() -> None:
    ended = subprocess.run(
        [
            sys.executable, "manage.py", "cron", "explain", "30 2 * * *", "--tz", "Europe/Berlin",
            "-n", "2", "--after", "2026-03-28T00:00:00Z", "--json",
        ],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            "REDIS_URL": "redis://127.0.0.1:1/0",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )  # fmt: skip

    explained = json.loads(ended.stdout)
    assert explained["fires"] == [
        {
            "utc": "2026-03-28T01:30:00Z",
            "local": "2026-03-28T02:30:00",
            "offset": "+01:00",
            "starts_at": "2026-03-28T01:30:00Z",
        },
        {
            "utc": "2026-03-29T01:00:00Z",
            "local": "2026-03-29T03:00:00",
            "offset": "+02:00",
            "starts_at": "2026-03-29T01:00:00Z",
        },
    ]
    assert "02:30" in explained["sentence"]
    assert "jumps" in explained["warnings"][0]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("99 * * * *",), "cron"),
        (("0 9 * * *", "--tz", "Mars/Olympus"), "timezone"),
        (("0 9 * * *", "--after", "tomorrow"), "after"),
        (("0 9 * * *", "-n", "0"), "n"),
    ],
)
def test_what_cron_cannot_explain_is_a_usage_error_of_its_field(
    arguments: tuple[str, ...], field: str
) -> None:
    ended = run("cron", "explain", *arguments, "--json")

    assert ended.exit_code == 2
    assert list(ended.document["error"]["fields"]) == [field]
    assert ended.stderr.startswith(f"{field}: ")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("rule", "schedule_type", "schedule_config"),
    [
        (("--cron", "0 9 * * *"), "cron", {"cron": "0 9 * * *"}),
        (("--every", "30 minutes"), "interval", {"every": "30 minutes"}),
        (("--interval-ms", "60000"), "interval", {"interval_ms": 60_000}),
        (("--at", "2099-12-01T09:00:00Z"), "one_time", {"run_at": "2099-12-01T09:00:00Z"}),
        (("--manual",), "", {}),
    ],
)
def test_a_schedule_is_created_from_options(
    rule: tuple[str, ...], schedule_type: str, schedule_config: dict[str, Any]
) -> None:
    ended = create(*rule, "--priority", "high", "--max-retries", "0")

    stored = Schedule.objects.get()
    assert ended.exit_code == 0
    assert ended.document["id"] == str(stored.id)
    assert (stored.schedule_type, stored.schedule_config) == (schedule_type, schedule_config)
    assert (stored.owner.username, stored.priority) == ("root", "high")
    assert stored.retry_policy["max_retries"] == 0


@pytest.mark.django_db
def test_a_schedule_is_created_from_a_file_and_options_win(tmp_path: Path) -> None:
    file = tmp_path / "schedule.json"
    words = {
        "name": "from a file",
        "schedule_type": "cron",
        "schedule_config": {"cron": "0 9 * * *"},
        "task_type": "shell_command",
        "task_config": {"command": ["true"]},
    }
    file.write_text(json.dumps(words))

    ended = run("schedule", "create", "--file", str(file), "--name", "of mine", "--disabled")

    stored = Schedule.objects.get()
    assert ended.exit_code == 0
    assert (stored.name, stored.enabled) == ("of mine", False)
    assert stored.schedule_config == {"cron": "0 9 * * *"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--cron", "99 * * * *"), "schedule_config.cron"),
        (("--every", "now and then"), "schedule_config.every"),
        (("--interval-ms", "1"), "schedule_config.interval_ms"),
        (("--cron", "0 9 * * *", "--timezone", "Mars/Olympus"), "timezone"),
        (("--cron", "0 9 * * *", "--task-type", "dance"), "task_type"),
        (("--cron", "0 9 * * *", "--task-config", "[1]"), "task_config"),
        (("--cron", "0 9 * * *", "--task-config", '{"comand": "x"}'), "task_config.comand"),
        (("--cron", "0 9 * * *", "--priority", "urgent"), "priority"),
    ],
)
def test_bad_input_is_a_usage_error_that_names_the_field_and_stores_nothing(
    arguments: tuple[str, ...], field: str
) -> None:
    ended = create(*arguments)

    assert ended.exit_code == 2
    assert field in ended.document["error"]["fields"]
    assert field in ended.stderr
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_only_an_operator_may_have_shell_commands_run() -> None:
    ended = create("--manual", "--user", "owner")

    assert ended.exit_code == 5
    assert "operators" in ended.stderr
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_a_taken_name_is_refused() -> None:
    create("--manual")

    ended = create("--manual")

    assert ended.exit_code == 5
    assert Schedule.objects.count() == 1


@pytest.mark.django_db
def test_a_schedule_is_switched_off_and_on_by_name(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule("nightly")

    run("schedule", "pause", "nightly", "--reason", "holidays", "--user", "owner")
    schedule.refresh_from_db()
    paused = (schedule.enabled, schedule.pause_reason, schedule.next_run_at)
    run("schedule", "resume", str(schedule.id))
    schedule.refresh_from_db()

    assert paused == (False, "holidays", None)
    assert schedule.enabled
    assert schedule.next_run_at is not None
    actors = AuditEntry.objects.filter(action="schedule.updated").values_list("actor", flat=True)
    assert set(actors) == {"owner", "root"}


@pytest.mark.django_db
def test_a_name_of_several_owners_asks_for_the_owner(make_schedule: MakeSchedule) -> None:
    make_schedule("nightly")
    create("--manual", "--owner", User.objects.create_user("other").username)

    ambiguous = run("schedule", "show", "nightly")
    named = run("schedule", "show", "nightly", "--user", "other", "--json")

    assert ambiguous.exit_code == 2
    assert named.document["trigger_type"] == "manual"


@pytest.mark.django_db
def test_an_unknown_schedule_is_not_found() -> None:
    assert run("schedule", "trigger", "nothing").exit_code == 4


@pytest.mark.django_db
def test_deleting_asks_first_and_refuses_without_an_answer(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule("nightly")

    refused = run("schedule", "delete", "nightly")
    was_there = Schedule.objects.filter(id=schedule.id).exists()
    deleted = run("schedule", "delete", "nightly", "--yes")

    assert (refused.exit_code, was_there) == (5, True)
    assert deleted.exit_code == 0
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_a_triggered_schedule_is_an_execution_to_show_to_follow_and_to_cancel(
    make_schedule: MakeSchedule,
) -> None:
    make_schedule("nightly")

    triggered = run("schedule", "trigger", "nightly", "--parameters", '{"day": 1}', "--json")
    number = str(triggered.document["number"])
    listed = run("execution", "list", "--schedule", "nightly", "--json").document
    shown = run("execution", "show", number, "--json").document
    cancelled = run("execution", "cancel", number, "--json").document
    followed = run("execution", "logs", number, "-f", "--json").stdout.splitlines()

    assert [one["number"] for one in listed] == [int(number)]
    assert (shown["parameters"], shown["trigger"]) == ({"day": 1}, "manual")
    assert shown["why"].startswith("Stands in queue 'normal' since ")
    assert cancelled["status"] == "cancelled"
    assert {json.loads(line)["type"] for line in followed} == {
        "execution:queued",
        "execution:cancelled",
    }
    assert AuditEntry.objects.get(action="execution.cancelled").actor == "root"


@pytest.mark.django_db
def test_what_has_ended_can_be_neither_cancelled_nor_retried(make_schedule: MakeSchedule) -> None:
    make_schedule("nightly")
    number = str(run("schedule", "trigger", "nightly", "--json").document["number"])
    run("execution", "cancel", number)

    again, retried = run("execution", "cancel", number), run("execution", "retry", number)

    assert (again.exit_code, retried.exit_code) == (5, 5)
    assert Execution.objects.get().status == "cancelled"


@pytest.mark.django_db
def test_a_tick_dispatches_what_is_due_and_says_so(make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=timedelta(seconds=1))

    ended = run("scheduler", "tick", "--json")

    assert ended.exit_code == 0
    assert (ended.document["fired"], ended.document["queued"]) == (1, 1)


@pytest.mark.django_db
def test_a_stopped_scheduler_refuses_a_tick_until_it_is_started(
    make_schedule: MakeSchedule,
) -> None:
    make_schedule(late_by=timedelta(seconds=1))
    stopped = run("scheduler", "stop", "--json").document

    refused = run("scheduler", "tick")
    started = run("scheduler", "start", "--user", "root", "--json").document

    assert (stopped["scheduler_running"], stopped["status"]) == (False, "paused")
    assert refused.exit_code == 5
    assert "manage.py scheduler start" in refused.stderr
    assert (started["scheduler_running"], Execution.objects.count()) == (True, 0)


@pytest.mark.django_db
def test_the_status_tells_how_long_the_stages_of_cycles_took() -> None:
    make_cycle(status="completed", stage="done", timings={"plan": 61_000, "execute": 20})

    document = run("scheduler", "status", "--json").document["cycles"]
    told = run("scheduler", "status").stdout

    assert document["execute"] == {"count": 1, "last_ms": 20, "mean_ms": 20, "total_ms": 20}
    assert list(document) == ["plan", "execute", "cycle"]
    (plan,) = [line for line in told.splitlines() if line.startswith("last hour, plan")]
    assert plan.endswith("count 1, last 1 min 1 s, mean 1 min 1 s, total 1 min 1 s")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [("schedule", "list"), ("execution", "list"), ("scheduler", "status"), ("execution", "logs")],
)
def test_people_read_plain_text_without_colours(
    make_schedule: MakeSchedule, arguments: tuple[str, ...]
) -> None:
    make_schedule("nightly [red]")
    number = str(run("schedule", "trigger", "nightly [red]", "--json").document["number"])

    ended = run(*arguments, *([number] if arguments[-1] == "logs" else []))

    assert ended.exit_code == 0
    assert ended.stdout.strip()
    assert "\x1b" not in ended.stdout
    assert arguments[0] == "scheduler" or "nightly [red]" in ended.stdout
