"""What defends the end of a process that is told to stop: of workers, beats and web processes."""

from __future__ import annotations

from typing import Final

from tests.faults.defence import Defence

DRAIN: Final = "test_drain.py::test_"

OF_ENDS: Final = (
    Defence(
        "what is cut short at the limit is given back at once",
        DRAIN + "what_still_runs_after_the_limit_is_tried_by_another_worker_at_once[prefork]",
        "agents_app/leaving.py",
        "[recorders.submit(_record, one.claimed) for one in gone]",
        "[]",
    ),
    Defence(
        "to be told twice is heard even by who hears of both at one moment",
        DRAIN + "told_once_more_it_ends_at_once[TERM]",
        "agents_app/leaving.py",
        "    _tell_children(AT_ONCE)\n",
        "    _tell_children(OF_A_CHILD)\n",
    ),
    Defence(
        "what only waits for its turn goes back untried",
        DRAIN + "programs_end_with_their_worker_and_those_that_wait_for_a_place_go_back_uncharged",
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
        "a web process answers what it was asked before it ends",
        "test_rolling_web.py::"
        "test_web_processes_that_are_restarted_one_after_the_other_fail_no_request",
        "config/web.py",
        "uvicorn.main([APPLICATION, *SAID, *sys.argv[1:]])",
        'uvicorn.main([APPLICATION, *SAID, *sys.argv[1:], "--timeout-graceful-shutdown", "0"])',
        slow=True,
    ),
    Defence(
        "who is told to stop lets what it runs end",
        DRAIN + "a_worker_that_is_told_to_stop_ends_what_it_runs_and_begins_nothing_more[threads]",
        "agents_app/leaving.py",
        "_Process.at_once.wait(max(0.0, ends - time.monotonic()))",
        "_Process.at_once.wait(0.0)",
    ),
    Defence(
        "what Redis still hands to a worker that listens no more goes back at once",
        "test_last_messages.py::test_no_message_stays_with_a_worker_that_listens_no_more",
        "config/celery.py",
        "                    channel._brpop_read()  # noqa: SLF001\n",
        "                    pass\n",
    ),
    Defence(
        "what a stopping worker has read and not handed to a child goes back at once",
        "test_last_messages.py::test_no_message_stays_on_its_way_to_a_child",
        "config/celery.py",
        "            channel.qos.restore_unacked()\n",
        "",
    ),
    Defence(
        "what a stopping worker has given back is not given back twice",
        "config/test_celery.py::"
        "test_what_a_stopping_worker_has_given_back_stays_with_whoever_has_it_now",
        "config/celery.py",
        "            channel.qos._flush()",
        "            pass",
    ),
    Defence(
        "who is told to stop amid being told to stop waits for no lock of its own",
        "config/test_celery.py::"
        "test_a_worker_may_be_told_to_stop_wherever_it_hears_that_it_is_to_stop",
        "config/celery.py",
        "worker_shutting_down.lock = threading.RLock()",
        "worker_shutting_down.lock = threading.Lock()",
    ),
    Defence(
        "what does not hear that it should stop ends with its process",
        DRAIN + "what_does_not_hear_that_it_should_stop_keeps_nobody[threads]",
        "agents_app/leaving.py",
        "    os._exit(os.EX_OK)\n",
        "",
    ),
    Defence(
        "a busy child outlives what its whole group is told",
        DRAIN + "a_whole_group_may_be_told_to_stop",
        "agents_app/leaving.py",
        "        signal.signal(signal.SIGTERM, _leave_it_to_the_worker)\n",
        "        signal.signal(signal.SIGTERM, signal.SIG_DFL)\n",
    ),
    Defence(
        "a web process that did as it was told has not failed",
        "test_goodbyes.py::test_a_web_process_that_is_told_to_stop_answers_what_it_was_asked_and"
        "_says_goodbye",
        "config/web.py",
        "        signal.signal(number, end)\n",
        "        pass\n",
    ),
)
