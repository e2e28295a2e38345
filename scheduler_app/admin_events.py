"""What starts schedules from outside, in the admin: that a webhook has a secret, and who listens.

Read-only, and no secret is ever shown: `manage.py schedule rotate-secret` makes a new one.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin

from executions_app.admin_records import RecordAdmin, Since
from scheduler_app.admin_limits import OfScheduleAdmin
from scheduler_app.models_events import EventCursor, EventListener, WebhookSecret


@admin.register(WebhookSecret)
class WebhookSecretAdmin(OfScheduleAdmin):
    list_display = ("created_at", "schedule_id", "expires_at")
    list_filter: ClassVar[Any] = (Since,)
    search_fields = ("=schedule_id",)
    exclude = ("ciphertext",)


@admin.register(EventListener)
class EventListenerAdmin(OfScheduleAdmin):
    ordering = ("schedule_id",)
    list_display = ("schedule_id", "since_xid")
    search_fields = ("=schedule_id",)


@admin.register(EventCursor)
class EventCursorAdmin(RecordAdmin):
    list_display = ("id", "xid", "event_id")
