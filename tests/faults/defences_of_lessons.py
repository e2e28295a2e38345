"""What a known predecessor did wrong in its AI cycle: the line that prevents each of it here.

Their tests are no fault tests, so `test` names its folder, too. That a breaker lets one probe
through stands in `defences_of_work`.
"""

from __future__ import annotations

from typing import Final

from tests.faults.defence import Defence

ANSWERS: Final = "journeys/test_cycle_answers.py::test_"
ASKING: Final = "agents_app/planning/test_asking.py::test_"
FAILURES: Final = "journeys/test_cycle_failures.py::test_"

OF_LESSONS: Final = (
    Defence(
        "the next fire stands before the work of this one begins",
        FAILURES + "a_plan_that_fails_on_every_tier_calls_nothing_and_leaves_a_next_fire",
        "scheduler_app/firing.py",
        "next_run_at = i.next_run_at, last_run_at",
        "next_run_at = NULL, last_run_at",
    ),
    Defence(
        "advice that nobody can give fails nothing",
        FAILURES + "a_failed_schedule_stage_repeats_no_call_and_leaves_a_next_fire",
        "agents_app/planning/deciding_by_ladder.py",
        "        advised, error = self._first(lambda one: one.schedule(request))\n",
        "        advised, error = self._model.schedule(request), None\n",
        slow=True,
    ),
    Defence(
        "a stage is one engine's",
        "agents_app/cycle/test_waves.py::test_two_engines_cannot_both_win_a_stage",
        "agents_app/cycle/rows.py",
        "    AND (stage_token IS NULL OR stage_expires_at < now())\n",
        "",
    ),
    Defence(
        "the class of a bad answer is that of the layer that refused it",
        ASKING + "the_category_comes_from_the_layer_and_never_from_the_words",
        "agents_app/planning/problems.py",
        "return min((one.malformed_class for one in problems), key=_ORDER.index)",
        "return next((one for one in MalformedClass if one.value in str(problems[0])), _ORDER[0])",
    ),
    Defence(
        "a repair shows the model what it said",
        ASKING + "a_repair_shows_the_bad_answer_and_everything_that_is_wrong_with_it",
        "agents_app/planning/repair.py",
        'turns = [Message("assistant", said)] if said.strip() else []',
        "turns: list[Message] = []",
    ),
    Defence(
        "what answers of no use have cost counts",
        ANSWERS + "what_answers_of_no_use_have_cost_counts_wherever_it_is_told",
        "agents_app/cycle/spent.py",
        "filter(execution_id=cycle.execution_id, cycle_id=cycle.id)",
        'filter(execution_id=cycle.execution_id, cycle_id=cycle.id, status="ok")',
    ),
    Defence(
        "what depends on a failed step is skipped, and says so",
        "journeys/test_cycles.py::"
        "test_dependents_of_a_failed_step_are_skipped_and_the_results_of_the_others_kept",
        "agents_app/cycle/flow.py",
        "    while more := dict(_dependents(steps, lost, skip)):\n",
        "    while more := dict(_dependents(steps, {}, skip)):\n",
    ),
)
