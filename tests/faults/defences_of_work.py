"""What defends what workers run, what they call, and who asks from outside."""

from __future__ import annotations

from typing import Final

from tests.faults.defence import Defence

WORKERS: Final = "test_workers.py::test_"
STRANGERS: Final = "test_strangers.py::test_"
STORM: Final = (
    "test_storms.py::test_a_storm_of_failures_is_counted_exactly_and_leaves_the_healthy_alone"
    "[eighty]"
)
HOSTILE: Final = (
    "test_hostile.py::"
    "test_every_hostile_answer_is_an_outcome_of_bounded_size_in_bounded_time_and_memory[once]"
)

WAVES: Final = "test_waves.py::test_"
BREAKERS: Final = "test_breakers.py::test_"

OF_WORK: Final = (
    Defence(
        "a wave that was decided and not sent is found by its steps",
        WAVES + "a_worker_killed_strictly_between_two_waves_costs_time_and_no_second_call",
        "agents_app/cycle/watchdog.py",
        "    Lack.STEPS: _steps,\n",
        "    Lack.STEPS: lambda _: None,\n",
    ),
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
        "if slice_size > 1 and not held.cancel_requested and",
        "if slice_size > 50 and not held.cancel_requested and",
    ),
    Defence(
        "what keeps killing its worker is given up after three",
        WORKERS + "a_job_that_kills_its_worker_at_every_attempt_is_buried_after_three",
        "errors_app/decision.py",
        "    if past.lost >= MOST_LOST:\n",
        "    if past.lost > 9 * MOST_LOST:\n",
    ),
    Defence(
        "leases that ended are noticed",
        WORKERS
        + "what_a_killed_worker_ran_is_tried_again_and_what_it_had_not_begun_is_not_charged",
        "errors_app/rescuer.py",
        "lease_expires_at < now() AND id > %s",
        "lease_expires_at < now() - interval '1 hour' AND id > %s",
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
        "what does not stop loses its process",
        "test_children.py::"
        "test_what_does_not_stop_after_its_time_limit_loses_its_process_and_nothing_else",
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
        "one of many is the probe of an endpoint",
        BREAKERS + "of_fifty_threads_in_each_of_three_processes_one_is_the_probe",
        "errors_app/breakers/script.py",
        "elseif verb == 'ask' and state == 'half_open' and now >= probe_until then",
        "elseif verb == 'ask' and state == 'half_open' then",
    ),
    Defence(
        "a client that never reads is cut off",
        "test_sockets.py::test_clients_that_never_read_and_hostile_ones_cost_the_others_nothing",
        "config/web.py",
        '"--ws", "config.web_sockets:BoundedWebSocket"',
        '"--ws", "auto"',
        slow=True,
    ),
    Defence(
        "what a killed child ran is noticed",
        "test_children.py::"
        "test_a_killed_child_of_a_prefork_worker_costs_one_attempt_and_its_parent_serves_on",
        "errors_app/rescuer.py",
        "lease_expires_at < now() AND id > %s",
        "lease_expires_at < now() - interval '1 hour' AND id > %s",
    ),
    Defence(
        "a child that has taken too much memory is replaced",
        "test_children.py::test_a_child_that_has_taken_too_much_memory_is_replaced_and_what_it_was"
        "_to_do_is_not_lost",
        "config/celery.py",
        "worker_max_memory_per_child=env.worker_max_memory_mb * 1024 or None,",
        "worker_max_memory_per_child=None,",
    ),
    Defence(
        "what runs on in a thread is given up",
        "test_threads.py::test_work_that_does_not_stop_is_begun_once_and_its_worker_serves_others",
        "agents_app/runner.py",
        "            overruns.give_up(slice_, worker=worker_id())\n",
        "            pass\n",
    ),
    Defence(
        "a worker that was cut off connects anew",
        "test_storms.py::test_connections_that_are_cut_all_the_time_let_nothing_run_twice"
        "[six times]",
        "config/celery.py",
        "    broker_connection_max_retries=None,\n",
        "    broker_connection_max_retries=None,\n    broker_connection_retry=False,\n",
    ),
    Defence(
        "the place of a probe that says nothing is another's after a while",
        BREAKERS + "a_process_that_dies_with_the_probe_blocks_nobody_for_longer_than_a_cooldown",
        "errors_app/breakers/script.py",
        "and state == 'half_open' and now >= probe_until then",
        "and state == 'half_open' and probe == '' then",
    ),
    Defence(
        "what fails again and again is called no more",
        BREAKERS + "another_process_refuses_at_once_what_failed_in_this_one",
        "errors_app/breakers/script.py",
        "if streak >= most_streak then",
        "if streak > 1000 * most_streak then",
    ),
    Defence(
        "calls go on without Redis",
        BREAKERS + "a_redis_that_was_killed_and_comes_back_is_used_again",
        "errors_app/breakers/store.py",
        "        except (redis.RedisError, OSError) as error:\n",
        "        except OSError as error:\n",
    ),
)
