"""What defends fires and their messages: beats, clocks, Redis and PostgreSQL."""

from __future__ import annotations

from typing import Final

from tests.faults.defence import Defence

REDIS: Final = "test_redis.py::test_"
BEATS: Final = "test_beats.py::test_"
CLOCK: Final = "test_clock.py::test_"
HOST: Final = (
    "test_host_clock.py::"
    "test_a_host_whose_clock_is_wrong_fires_runs_and_stores_everything_in_its_time[45 days ahead]"
)

OF_TIME: Final = (
    Defence(
        "a Redis with another run id has lost everything",
        REDIS + "a_redis_that_lost_its_messages_costs_no_execution_and_no_attempt[50]",
        "scheduler_app/epoch.py",
        "if is_behind or known_run_id != run_id:",
        "if False:",
    ),
    Defence(
        "a Redis that counts less than PostgreSQL was set back",
        REDIS + "a_redis_that_was_set_back_to_an_old_snapshot_costs_no_execution",
        "scheduler_app/epoch.py",
        "is_behind = seen is None or int(seen) < epoch - SLACK",
        "is_behind = seen is None",
    ),
    Defence(
        "replay stops below what is still open",
        "test_replay.py::test_a_client_that_comes_back_over_and_over_hears_every_event_once[600]",
        "executions_app/events.py",
        "              AND xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint\n",
        "",
    ),
    Defence(
        "PostgreSQL's clock decides",
        HOST,
        "executions_app/clock.py",
        "        instant: datetime = cursor.fetchone()[0]\n",
        "        instant = datetime.now(cursor.fetchone()[0].tzinfo)\n",
    ),
    Defence(
        "the places of a limit are given out under its lock",
        "test_limits.py::test_three_beats_never_admit_more_than_a_limit",
        "executions_app/holding.py",
        "SELECT count(pg_advisory_xact_lock(%s::int, n)) FROM",
        "SELECT count(%s::int + n) FROM",
    ),
    Defence(
        "each policy of missed fires is kept",
        BEATS + "after_a_hundred_minutes_without_a_beat_each_policy_gets_exactly_its_runs",
        "scheduler_app/policies.py",
        "    left = given.catchup_limit if given.catchup is CatchupPolicy.ALL else 1\n",
        "    left = 1\n",
    ),
    Defence(
        "of very many missed fires the oldest share a record",
        BEATS + "a_week_of_missed_minutes_is_a_hundred_records_and_a_summary",
        "scheduler_app/policies.py",
        "RECORDED_ONE_BY_ONE: Final = 100",
        "RECORDED_ONE_BY_ONE: Final = 1000",
    ),
    Defence(
        "what was not started in time expires",
        BEATS + "late_fires_that_wait_too_long_for_each_other_expire",
        "executions_app/expiry.py",
        "expires_at <= now() AND attempt = 0",
        "expires_at <= now() - interval '1 hour' AND attempt = 0",
        slow=True,
    ),
    Defence(
        "a stopped system dispatches nothing",
        "test_system_states.py::test_a_stopped_system_is_still_stopped_after_all_of_it_was_killed",
        "scheduler_app/outlook.py",
        "        if not self.is_running:\n",
        "        if not self.now:\n",
    ),
    Defence(
        "a beat ends between two rounds",
        "test_goodbyes.py::test_a_beat_that_is_told_to_stop_sends_what_it_has_committed",
        "scheduler_app/last_round.py",
        "if _Round.is_on and not _Round.is_last:",
        "if not _Round.is_on and not _Round.is_last:",
    ),
    Defence(
        "what Redis did not take is marked as unsent",
        "test_outages.py::test_a_redis_that_writes_nothing_loses_nothing[OOM]",
        "scheduler_app/sending.py",
        "        outbox.unpublish([one.execution_id for one in messages])\n",
        "",
    ),
    Defence(
        "a page without its database asks for patience",
        "test_outages.py::test_postgresql_may_end_without_a_word_and_come_back[short]",
        "executions_app/api/problems.py",
        "    if error is not None and is_away(error):\n",
        "    if error is not None and is_away(error) and _is_api(request):\n",
    ),
    Defence(
        "a full disk is called so",
        "test_no_space.py::test_a_full_disk_is_said_and_nothing_is_half_stored",
        "executions_app/api/problem.py",
        "    if state == NO_SPACE or ",
        "    if ",
        slow=True,
    ),
    Defence(
        "a fire that was recorded before is passed over, and its schedule goes on",
        CLOCK + "one_that_is_resumed_after_the_clock_went_back_repeats_no_fire",
        "scheduler_app/firing.py",
        "    ON CONFLICT (schedule_id, nominal_at, cause) DO NOTHING\n",
        "",
    ),
    Defence(
        "what fired while nobody looked is made up for",
        "test_everything.py::test_after_workers_beats_and_redis_were_killed_the_ledgers_agree",
        "scheduler_app/policies.py",
        "    left = given.catchup_limit if given.catchup is CatchupPolicy.ALL else 1\n",
        "    left = 1\n",
    ),
    Defence(
        "an outcome is gone only together with all that followed from it",
        "test_when.py::"
        "test_beats_that_die_between_any_two_statements_lose_no_fire_and_double_none"
        "[for twenty seconds]",
        "scheduler_app/consequences.py",
        "    with transaction.atomic():\n",
        "    if True:\n",
    ),
    Defence(
        "what was heard is not heard again",
        "test_triggers.py::test_beats_killed_at_random_start_each_dependent_and_listener_once",
        "scheduler_app/sources/internal.py",
        "    EventCursor.objects.filter(id=1).update(xid=page.end.xid, event_id=page.end.id)\n",
        "",
    ),
    Defence(
        "very many that are due are written many at a time",
        "test_herds.py::test_a_herd_of_one_instant_fires_once_each_and_keeps_to_its_connections",
        "scheduler_app/dispatcher.py",
        "        limit = env.scheduler_batch_size\n",
        "        limit = 1\n",
        slow=True,
    ),
    Defence(
        "of several beats one takes what is due",
        BEATS + "three_beats_at_once_fire_everything_exactly_once[five seconds]",
        "scheduler_app/due.py",
        "    ORDER BY t.next_run_at LIMIT {{limit}} FOR UPDATE SKIP LOCKED\n",
        "    ORDER BY t.next_run_at LIMIT {{limit}}\n",
    ),
    Defence(
        "what fired while no beat lived is made up for",
        BEATS + "beats_killed_at_random_lose_no_fire_and_double_none[six times]",
        "scheduler_app/policies.py",
        "    left = given.catchup_limit if given.catchup is CatchupPolicy.ALL else 1\n",
        "    left = 1\n",
    ),
    Defence(
        "an hour that the clock passed over is made up for",
        CLOCK + "a_clock_that_is_set_on_an_hour_drops_no_fire_and_doubles_none",
        "scheduler_app/policies.py",
        "    left = given.catchup_limit if given.catchup is CatchupPolicy.ALL else 1\n",
        "    left = 1\n",
    ),
    Defence(
        "what fired while no worker lived is kept for it",
        CLOCK + "after_a_weekend_without_workers_everything_that_was_queued_runs",
        "scheduler_app/policies.py",
        "    left = given.catchup_limit if given.catchup is CatchupPolicy.ALL else 1\n",
        "    left = 1\n",
    ),
    Defence(
        "who asks Redis waits a moment and no longer",
        "test_outages.py::test_a_redis_that_stands_still_stops_neither_beats_nor_answers[short]",
        "agents_app/broker.py",
        'socket_timeout=WEB_SECONDS if env.cadenza_role == "web" else OTHER_SECONDS,',
        "socket_timeout=None,",
    ),
    Defence(
        "a Redis without the key of the epoch has lost everything",
        REDIS + "a_flushed_redis_is_noticed_without_a_restart",
        "scheduler_app/epoch.py",
        "is_behind = seen is None or int(seen) < epoch - SLACK",
        "is_behind = seen is not None and int(seen) < epoch - SLACK",
    ),
    Defence(
        "a beat says that Redis is away",
        "test_system_states.py::test_the_whole_is_idle_running_paused_and_in_error_as_it_should_be",
        "scheduler_app/beat.py",
        'problem = f"Redis is away: {error}"',
        "problem = str(error)[:0]",
    ),
    Defence(
        "what a dead worker ran waits until the system is started",
        "test_system_states.py::test_what_runs_when_the_system_is_stopped_and_killed_is_not_queued"
        "_before_the_start",
        "scheduler_app/outlook.py",
        "        if not self.is_running:\n",
        "        if not self.now:\n",
    ),
    Defence(
        "nobody waits for an instant of a clock that was set back",
        CLOCK + "what_stood_in_a_queue_when_the_clock_went_back_runs_all_the_same",
        "executions_app/ledger.py",
        "MOST_EARLY_SECONDS: Final = 2.0",
        "MOST_EARLY_SECONDS: Final = 7200.0",
        slow=True,
    ),
)
