"""An execution in the admin says which limits hold it back, and how far they are used up."""

from __future__ import annotations

from django.contrib import admin

from errors_app.admin import RecoverableExecutionAdmin
from executions_app import clock
from executions_app.models import Execution
from scheduler_app.limiting import held_words

admin.site.unregister(Execution)


@admin.register(Execution)
class HeldExecutionAdmin(RecoverableExecutionAdmin):
    @admin.display(description="why it is there")
    def why(self, row: Execution) -> str:
        return held_words.why(row, now=clock.now())
