"""One verb for many executions, dead letters, errors or schedules, chosen by the list's filter."""
