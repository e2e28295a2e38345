"""What fault tests would miss: the line that defends the product, and how to switch it off.

`mutations.py` proves it on a copy: with the line switched off, the named test turns red. A test
keeps it true: every text stands exactly once in its file, every fault module has a defence here or
stands in `WITHOUT`. Not every test has one, and not every defence of the product is here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

WORKERS: Final = "test_workers.py::test_"
REDIS: Final = "test_redis.py::test_"
STRANGERS: Final = "test_strangers.py::test_"
BEATS: Final = "test_beats.py::test_"
STORM: Final = (
    "test_storms.py::test_a_storm_of_failures_is_counted_exactly_and_leaves_the_healthy_alone"
    "[eighty]"
)
HOSTILE: Final = (
    "test_hostile.py::"
    "test_every_hostile_answer_is_an_outcome_of_bounded_size_in_bounded_time_and_memory[once]"
)
HOST: Final = (
    "test_host_clock.py::"
    "test_a_host_whose_clock_is_wrong_fires_runs_and_stores_everything_in_its_time[45 days ahead]"
)

# Modules without one of their own. They look at a matter of degree, or at what several defences
# hold together: a fire stays single without its key, or without the transaction around its round.
WITHOUT: Final = frozenset(
    {"test_clock.py", "test_everything.py", "test_herds.py", "test_triggers.py", "test_when.py"}
)


class Defence(NamedTuple):
    """`text` stands once in `file`; with `instead` in its place, `test` has to fail.

    One that is `slow` is proved only on demand: the test waits in vain, for minutes.
    """

    name: str
    test: str
    file: str
    text: str
    instead: str
    slow: bool = False


DEFENCES: Final = (
    Defence(
        "an outcome is stored only under the lease that it was made under",
        WORKERS + "a_worker_woken_while_another_runs_its_execution_writes_nothing",
        "executions_app/statements.py",
        "AND CASE e.status WHEN 'running' THEN e.lease_token = i.token END\n"
        "        FOR UPDATE\n    ) AS locked\n), moved AS (",
        "AND e.status = 'running'\n        FOR UPDATE\n    ) AS locked\n), moved AS (",
    ),
    Defence(
        "only what is queued is claimed",
        STRANGERS + "every_message_five_times_at_three_workers_is_every_execution_once",
        "executions_app/statements.py",
        "CASE e.status WHEN 'queued' THEN e.attempt < e.max_attempts",
        "CASE WHEN e.status IN ('queued', 'running') THEN e.attempt < e.max_attempts",
    ),
    Defence(
        "what was lost in a slice of many goes back untried, and alone",
        WORKERS + "a_job_that_kills_its_worker_in_a_slice_of_fifty_leaves_its_neighbours_untouched",
        "errors_app/rescuer.py",
        "if slice_size > 1 and not held.cancel_requested:",
        "if slice_size > 50 and not held.cancel_requested:",
    ),
    Defence(
        "what keeps killing its worker is given up after three",
        WORKERS + "a_job_that_kills_its_worker_at_every_attempt_is_buried_after_three",
        "errors_app/recovery.py",
        "    if lost >= MOST_LOST:\n",
        "    if lost > 9 * MOST_LOST:\n",
    ),
    Defence(
        "leases that ended are noticed",
        WORKERS
        + "what_a_killed_worker_ran_is_tried_again_and_what_it_had_not_begun_is_not_charged",
        "errors_app/rescuer.py",
        "lease_expires_at < now() AND id <> ALL(%s)",
        "lease_expires_at < now() - interval '1 hour' AND id <> ALL(%s)",
    ),
    Defence(
        "whatever a handler raises is an outcome",
        WORKERS + "a_poisonous_handler_is_an_outcome_and_its_worker_serves_on[exit]",
        "agents_app/runner.py",
        "    except BaseException as error:  # noqa: BLE001  a handler's",
        "    except Exception as error:  # noqa: BLE001  a handler's",
    ),
    Defence(
        "a result is cut to what may be stored",
        WORKERS + "a_poisonous_handler_is_an_outcome_and_its_worker_serves_on[huge]",
        "executions_app/lifecycle.py",
        "scrub.storable_json(output, max_bytes=env.result_max_bytes)",
        "scrub.storable_json(output, max_bytes=2**30)",
    ),
    Defence(
        "a Redis with another run id has lost everything",
        REDIS + "a_redis_that_lost_its_messages_costs_no_execution_and_no_attempt[50]",
        "scheduler_app/epoch.py",
        "if is_behind or state.redis_run_id != run_id:",
        "if False:",
    ),
    Defence(
        "a Redis that counts less than PostgreSQL was set back",
        REDIS + "a_redis_that_was_set_back_to_an_old_snapshot_costs_no_execution",
        "scheduler_app/epoch.py",
        "is_behind = seen is None or int(seen) < state.redis_epoch - SLACK",
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
        "retries are spread",
        STORM,
        "errors_app/backoff.py",
        "    if jitter is Jitter.FULL:\n",
        "    if jitter is Jitter.FULL and rng is None:\n",
    ),
    Defence(
        "no more of an answer is read than is kept",
        HOSTILE,
        "agents_app/clients/http.py",
        "raw.read(max_bytes + 1, decode_content=True)",
        "raw.read(decode_content=True)",
    ),
    Defence(
        "no answer leads to where no call may go",
        HOSTILE,
        "agents_app/clients/addresses.py",
        "        return _is_public(parsed, port=port)\n",
        "        return True\n",
    ),
    Defence(
        "PostgreSQL's clock decides",
        HOST,
        "executions_app/clock.py",
        "        instant: datetime = cursor.fetchone()[0]\n",
        "        instant = datetime.now(cursor.fetchone()[0].tzinfo)\n",
    ),
    Defence(
        "an old signature is not believed",
        STRANGERS
        + "a_delivery_that_comes_twenty_times_at_once_is_one_execution_and_an_old_one_is_none",
        "scheduler_app/sources/signatures.py",
        "SKEW: Final = timedelta(minutes=5)",
        "SKEW: Final = timedelta(minutes=50)",
    ),
    Defence(
        "one of many requests with a key goes on",
        STRANGERS + "a_request_that_comes_twenty_times_at_once_with_its_key_is_carried_out_once",
        "executions_app/idempotency.py",
        "    if kept.id == own_id:\n",
        "    if kept.id == own_id or kept.response_status is None:\n",
    ),
    Defence(
        "a row that makes no sense is disabled, with a record",
        STRANGERS + "what_makes_no_sense_is_refused_at_the_door_and_disables_only_itself_behind_it",
        "scheduler_app/dispatcher.py",
        "        _disable_now(row, error, done)\n",
        "        del row, error\n",
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
        BEATS + "after_ten_minutes_without_a_beat_each_policy_gets_exactly_its_runs",
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
        "what does not stop loses its process",
        WORKERS + "what_does_not_stop_after_its_time_limit_loses_its_process_and_nothing_else",
        "agents_app/runner.py",
        "        os._exit(EXIT_HARD_LIMIT)\n",
        "        return\n",
        slow=True,
    ),
    Defence(
        "a message that was lost is sent again",
        "test_killing.py::"
        "test_workers_killed_with_all_they_hold_lose_nothing_and_leave_nothing_queued",
        "executions_app/outbox.py",
        "AND published_at < now() - %s * interval '1 second'",
        "AND published_at < now() - %s * interval '1 hour'",
        slow=True,
    ),
    Defence(
        "what is cut short at the limit is given back at once",
        "test_drain.py::test_what_still_runs_after_the_limit_is_tried_by_another_worker_at_once"
        "[prefork]",
        "agents_app/leaving.py",
        "[recorders.submit(_record, one.claimed) for one in gone]",
        "[]",
    ),
    Defence(
        "what only waits for its turn goes back untried",
        "test_drain.py::test_programs_end_with_their_worker_and_those_that_wait_for_a_place_go_back"
        "_uncharged",
        "agents_app/context.py",
        "if self._waits_since and draining.is_on():",
        "if self._waits_since is None and draining.is_on():",
    ),
    Defence(
        "what runs may end before its worker does",
        "test_rolling.py::test_a_rolling_restart_loses_nothing_doubles_nothing_and_delays_little"
        "[each once]",
        "agents_app/leaving.py",
        "_Process.at_once.wait(max(0.0, ends - time.monotonic()))",
        "_Process.at_once.wait(0.0)",
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
        "one of many is the probe of an endpoint",
        "test_breakers.py::test_of_fifty_threads_in_each_of_three_processes_one_is_the_probe",
        "errors_app/breakers/script.py",
        "elseif verb == 'ask' and state == 'half_open' and now >= probe_until then",
        "elseif verb == 'ask' and state == 'half_open' then",
    ),
)
