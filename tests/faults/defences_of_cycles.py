"""What defends the AI cycle: its steps, its budget, and its schedules while the model is away."""

from __future__ import annotations

from typing import Final

from tests.faults.defence import Defence

CYCLES: Final = "test_cycles.py::test_"
MISBEHAVING: Final = (
    "test_misbehaving.py::"
    "test_whatever_a_model_says_each_cycle_ends_and_calls_nothing_that_is_not_registered"
)
MODEL_DOWN: Final = (
    "test_model_down.py::"
    "test_every_schedule_keeps_its_cadence_while_its_model_is_away_and_notices_its_return"
    "[four periods]"
)

OF_CYCLES: Final = (
    Defence(
        "a step that has begun is not begun by another message",
        CYCLES + "messages_that_come_three_times_do_everything_once",
        "executions_app/step_statements.py",
        "WHERE s.id = %s AND s.status = 'queued' AND e.id",
        "WHERE s.id = %s AND s.status IN ('queued', 'running', 'completed') AND e.id",
    ),
    Defence(
        "an endpoint that was removed since the plan was made is not called",
        CYCLES + "an_endpoint_that_is_deleted_while_a_plan_names_it_is_called_no_more",
        "agents_app/cycle/calls.py",
        "        _check_enabled(held)\n",
        "",
    ),
    Defence(
        "a question that may exceed the budget of its cycle is not asked",
        MISBEHAVING,
        "agents_app/budget.py",
        "used.tokens + %(tokens)s > s.most_tokens OR used.usd",
        "used.usd",
    ),
    Defence(
        "without a model the ladder has a plan",
        MODEL_DOWN,
        "agents_app/planning/deciding_by_ladder.py",
        "            return decide(self._stand_in(error.trouble)), error\n",
        "            raise\n",
    ),
    Defence(
        "the last good plan stands in for the model",
        MODEL_DOWN,
        "agents_app/planning/fallback.py",
        "        if plan.steps and named <= known and not check(plan):\n",
        "        if plan.steps and named < known and not check(plan):\n",
    ),
    Defence(
        "a run without its model is no clean success",
        MODEL_DOWN,
        "agents_app/cycle/ending.py",
        "return Outcome.OK if cycle.tier == Tier.MODEL else Outcome.DEGRADED",
        "return Outcome.OK",
    ),
    Defence(
        "what stands in for a model keeps to the schedule's own times",
        MODEL_DOWN,
        "agents_app/planning/fallback_timing.py",
        'return Advice("keep", reason="The schedule\'s own timing holds.")',
        'return Advice("interval", interval_ms=5_000, reason="Let it rest.")',
    ),
    Defence(
        "a provider whose pause is over is tried again",
        MODEL_DOWN,
        "agents_app/selection_statements.py",
        "AND coalesce(p.unhealthy_until <= now(), true)",
        "AND p.unhealthy_until IS NULL",
    ),
    Defence(
        "what is not sent, or not taken, in a cycle is sent again",
        CYCLES + "steps_whose_messages_are_lost_are_sent_again",
        "agents_app/cycle/watchdog.py",
        "return going_on.Follow("
        "steps.send_again([found.id], unclaimed_seconds=env.rescue_seconds))",
        "return going_on.NOTHING",
    ),
    Defence(
        "a wave whose messages are gone is found by its steps",
        CYCLES + "a_redis_emptied_between_waves_costs_time_and_nothing_else",
        "agents_app/cycle/watchdog.py",
        "    Lack.STEPS: _steps,\n",
        "    Lack.STEPS: lambda _: None,\n",
    ),
    Defence(
        "a stage whose worker died is another's",
        CYCLES + "a_worker_killed_in_a_stage_costs_time_and_no_second_call[plan]",
        "agents_app/cycle/watchdog.py",
        "    Lack.STAGE: _stage,\n",
        "    Lack.STAGE: lambda _: None,\n",
    ),
    Defence(
        "a step whose worker died is tried again",
        CYCLES + "a_worker_killed_in_mid_wave_repeats_only_what_had_not_ended",
        "agents_app/cycle/watchdog.py",
        "if found.attempt < MOST_ATTEMPTS and not",
        "if found.attempt < 1 and not",
    ),
    Defence(
        "a step that keeps killing its worker is given up after three",
        CYCLES + "a_step_that_kills_its_worker_each_time_is_given_up_after_three",
        "agents_app/cycle/watchdog.py",
        "MOST_ATTEMPTS: Final = 3 ",
        "MOST_ATTEMPTS: Final = 30 ",
    ),
)
