"""Notices of a channel that is gone: every process looks for them, and none waits for another."""

from __future__ import annotations

import pytest
from django.db import connection

from errors_app.alerting import channels, notices, raising
from errors_app.alerting.findings import Finding
from errors_app.models import AlertChannel, AlertDelivery, AlertRule
from executions_app.audit import SYSTEM
from tests.errors_app.watched import rule


@pytest.mark.django_db(transaction=True)
def test_an_orphan_that_another_process_holds_is_left_to_it() -> None:
    AlertRule.objects.all().delete()
    AlertChannel.objects.all().delete()
    made = channels.create({"name": "web", "url": "json://127.0.0.1:1"}, actor=SYSTEM)
    raising.settle(
        rule("queue_age", name="The queue is slow", severity="high"),
        [Finding(key=f"{number}", message="x") for number in range(3)],
    )
    channels.remove(made.id, actor=SYSTEM)
    first, *others = AlertDelivery.objects.order_by("id").values_list("id", flat=True)

    elsewhere = connection.copy()
    elsewhere.set_autocommit(False)
    try:
        with elsewhere.cursor() as cursor:
            cursor.execute("SELECT FROM alert_deliveries WHERE id = %s FOR UPDATE", [first])
        claimed = notices.claim()
        failed = set(AlertDelivery.objects.filter(status="failed").values_list("id", flat=True))
    finally:
        elsewhere.rollback()
        elsewhere.close()

    assert claimed == []
    assert failed == set(others)
    notices.claim()
    assert set(AlertDelivery.objects.values_list("status", flat=True)) == {"failed"}
