"""Rules and channels made, changed, switched and removed at a terminal."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from errors_app.alerting import kinds, raising
from errors_app.alerting.findings import Finding
from errors_app.models import Alert, AlertChannel, AlertRule
from errors_app.models_alerts import AlertKind
from executions_app.models import AuditEntry
from tests.errors_app.watched import rule
from tests.factories import ScheduleFactory, UserFactory
from tests.terminal import run

pytestmark = pytest.mark.django_db
NOBODYS = "0195f2c4-9000-7a0b-8d11-5a6b7c8d9e0f"
URL = "json://user:s3cr3t-word@127.0.0.1:1/t0k3n-path"


@pytest.fixture(autouse=True)
def root() -> User:
    return User.objects.create_superuser("root")


def test_a_rule_is_made_with_all_that_rest_takes() -> None:
    ada = UserFactory.create(username="ada")
    schedule = ScheduleFactory.create(owner=ada, name="nightly report")
    run("alerts", "add-channel", "on call", "log")

    made = run(
        *("alerts", "add-rule", "late_schedule", "The report is late"),
        *("--parameter", "start_by_ms=60000", "--parameter", "with_held=true"),
        *("--schedule", "nightly report", "--owner", "ada", "--channel", "on call"),
        *("--severity", "high", "--disabled", "--json"),
    )

    assert made.exit_code == 0, made.stderr
    expected = {
        "kind": "late_schedule",
        "parameters": {"start_by_ms": 60_000, "with_held": True},
        "schedule_id": str(schedule.id),
        "owner_id": ada.pk,
        "severity": "high",
        "channels": ["on call"],
        "enabled": False,
    }
    assert {name: made.document[name] for name in expected} == expected
    entry = AuditEntry.objects.get(action="alert_rule.created")
    assert (entry.actor, entry.object_id) == ("root", made.document["id"])


def test_a_list_says_for_whom_with_what_and_whom_it_tells() -> None:
    AlertRule.objects.all().delete()
    ada = UserFactory.create(username="ada")
    schedule = ScheduleFactory.create(owner=ada, name="nightly report")
    run("alerts", "add-rule", "finish_by", "slow", "--schedule", str(schedule.id))
    run("alerts", "add-rule", "silent_schedule", "silent", "--owner", "ada")
    run("alerts", "add-rule", "queue_age", "waiting", "--channel", "log")

    lines = {line.split()[0]: line for line in run("alerts", "rules").stdout.splitlines()}

    assert "schedule nightly report" in lines["slow"]
    assert "finish_by_ms=3600000" in lines["slow"]
    assert "what ada owns" in lines["silent"]
    assert "everything" in lines["waiting"]
    assert "every channel" in lines["slow"]
    assert "log" in lines["waiting"]


def test_a_rule_is_changed_where_it_was_told_to_and_nowhere_else() -> None:
    ada = UserFactory.create(username="ada")
    made = rule(
        "failure_rate", name="fails", owner_id=ada.pk, parameters={"min_runs": 9}, channels=["log"]
    )

    changed = run(
        *("alerts", "change-rule", "fails", "--parameter", "threshold_percent=50"),
        *("--every-owner", "--every-channel", "--name", "fails often", "--json"),
    )

    assert changed.exit_code == 0, changed.stderr
    made.refresh_from_db()
    assert (made.name, made.owner_id, made.channels) == ("fails often", None, [])
    assert made.parameters == {
        "threshold_percent": 50, "min_runs": 9, "window_ms": 900_000, "per": "schedule",
    }  # fmt: skip
    other = run("alerts", "change-rule", "fails often", "--kind", "queue_age", "--json")
    assert other.document["parameters"] == kinds.QueueAge().model_dump()


def test_a_rule_is_disabled_enabled_and_removed_when_that_is_confirmed() -> None:
    made = rule("queue_age", name="waiting")
    raising.settle(made, [Finding(key="a", message="slow")])

    off = run("alerts", "disable-rule", "waiting", "--json")
    on = run("alerts", "enable-rule", str(made.id), "--json")
    unsure = run("alerts", "remove-rule", "waiting")
    removed = run("alerts", "remove-rule", "waiting", "--yes")

    assert (off.document["enabled"], on.document["enabled"]) == (False, True)
    assert (unsure.exit_code, removed.exit_code) == (5, 0)
    assert not AlertRule.objects.filter(name="waiting").exists()
    assert Alert.objects.get(key="a").rule_name == "waiting"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add-rule", "queue_age", "x", "--parameter", "max_age_ms=soon"), 2, "max_age_ms"),
        (("add-rule", "queue_age", "x", "--parameter", "colour=1"), 2, "parameters.colour"),
        (("add-rule", "queue_age", "x", "--parameter", "nonsense"), 2, "NAME=VALUE"),
        (("add-rule", "silent_schedule", "x"), 2, "needs schedule_id or owner_id"),
        (("add-rule", "no_such_kind", "x"), 2, "no_such_kind"),
        (("add-rule", "queue_age", "x", "--channel", "nobody"), 2, "no channel 'nobody'"),
        (("add-rule", "missed", "x", "--schedule", "nothing"), 4, "no schedule 'nothing'"),
        (("add-rule", "missed", "x", "--schedule", NOBODYS), 2, "no such schedule"),
        (("add-rule", "missed", "x", "--owner", "nobody"), 4, "no user 'nobody'"),
        (("change-rule", "nothing", "--severity", "low"), 4, "no rule 'nothing'"),
        (("change-rule", "A fire is late"), 2, "Nothing was to be changed"),
        (("change-channel", "log"), 2, "Nothing was to be changed"),
        (("remove-channel", "nobody", "--yes"), 4, "no channel 'nobody'"),
        (("mute", "A fire is late", "--minutes", "9999999999999"), 2, "minutes"),
    ],
    ids=str,
)
def test_what_makes_no_rule_is_refused_with_its_reason(
    words: tuple[str, ...], code: int, said: str
) -> None:
    before = AlertRule.objects.count()

    ended = run("alerts", *words)

    assert (ended.exit_code, AlertRule.objects.count()) == (code, before)
    assert said in ended.stderr


def test_help_says_what_each_kind_finds_and_with_what(capsys: pytest.CaptureFixture[str]) -> None:
    run("alerts", "add-rule", "--help")

    said = capsys.readouterr().out
    assert all(f"\n  {kind}\n" in said for kind in AlertKind)
    assert "failed." in said
    assert "threshold_percent=20 min_runs=5 window_ms=900000 per=schedule" in said
    assert "p95_factor=null" in said


def test_a_name_that_several_owners_use_is_none() -> None:
    for name in ("ada", "bob"):
        ScheduleFactory.create(owner=UserFactory.create(username=name), name="report")

    ended = run("alerts", "add-rule", "missed", "x", "--schedule", "report")

    assert (ended.exit_code, "several owners" in ended.stderr) == (2, True)


def test_a_channel_is_changed_switched_and_removed() -> None:
    run("alerts", "add-channel", "web", URL)

    changed = run("alerts", "change-channel", "web", "--min-severity", "high", "--json")
    off = run("alerts", "disable-channel", "web", "--json")
    on = run("alerts", "enable-channel", "web", "--json")
    unsure = run("alerts", "remove-channel", "web")
    rule("queue_age", name="waiting", channels=["web"])
    named = run("alerts", "remove-channel", "web", "--yes")
    run("alerts", "change-rule", "waiting", "--every-channel")
    removed = run("alerts", "remove-channel", "web", "--yes")

    assert (changed.document["min_severity"], changed.document["kind"]) == ("high", "json")
    assert (off.document["enabled"], on.document["enabled"]) == (False, True)
    assert (unsure.exit_code, named.exit_code, removed.exit_code) == (5, 2, 0)
    assert "the rule 'waiting' names this channel" in named.stderr
    assert not AlertChannel.objects.filter(name="web").exists()
