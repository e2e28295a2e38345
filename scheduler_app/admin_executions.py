"""An execution in the admin says which limits hold it back, and how well an AI planned it."""

from __future__ import annotations

from django.contrib import admin

from errors_app.admin import RecoverableExecutionAdmin
from executions_app import clock
from executions_app.models import Execution
from scheduler_app import explained

admin.site.unregister(Execution)


@admin.register(Execution)
class HeldExecutionAdmin(RecoverableExecutionAdmin):
    @admin.display(description="why it is there")
    def why(self, row: Execution) -> str:
        return explained.why(row, now=clock.now())
