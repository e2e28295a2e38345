from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents_app.handlers import process, shell
from agents_app.handlers.shell import ShellCommand, ShellCommandConfig
from config.env import env
from errors_app.taxonomy import Cancelled, DeadlineExceeded, ErrorClass, HandlerError
from tests.agents_app.context import TestContext


def _context(command: str | list[str], **given: Any) -> TestContext[ShellCommandConfig]:
    seconds = given.pop("seconds", 20.0)
    parameters = given.pop("parameters", None)
    config = ShellCommandConfig(command=command, **given)
    return TestContext(config, seconds=seconds, parameters=parameters)


def _python(code: str, **given: Any) -> TestContext[ShellCommandConfig]:
    return _context([sys.executable, "-c", code], **given)


def _run(context: TestContext[ShellCommandConfig]) -> dict[str, Any]:
    output = ShellCommand().run(context).output
    assert isinstance(output, dict)
    return output


def _until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends, "the condition did not come true within 10 s"
        threading.Event().wait(0.02)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_stores_what_it_wrote() -> None:
    output = _run(_context("echo hello"))

    assert output["stdout"] == "hello\n"
    assert (output["exit_code"], output["stderr"], output["truncated"]) == (0, "", False)
    assert output["duration_ms"] >= 0


def test_a_string_is_split_into_arguments_and_no_shell_reads_it() -> None:
    output = _run(_context("echo '$HOME' $(id) ; ls"))

    assert output["stdout"] == "$HOME $(id) ; ls\n"


def test_a_shell_reads_the_command_where_an_administrator_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shell, "env", env.model_copy(update={"allow_shell": True}))

    output = _run(_context("echo one two | wc -w", shell=True))

    assert output["stdout"].strip() == "2"


def test_the_environment_of_the_worker_stays_with_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")

    output = _run(_context("env", env={"COLOUR": "blue"}, parameters={"a": 1}))

    names = {line.partition("=")[0] for line in output["stdout"].splitlines()}
    assert names == {
        *("PATH", "HOME", "TMPDIR", "LANG", "COLOUR"),
        *("CADENZA_EXECUTION_ID", "CADENZA_ATTEMPT", "CADENZA_PARAMETERS"),
    }
    assert 'CADENZA_PARAMETERS={"a": 1}' in output["stdout"]


def test_the_folder_of_a_command_is_empty_and_gone_afterwards() -> None:
    output = _run(_python("import os; open('left', 'w'); print(os.getcwd(), os.listdir())"))

    folder = output["stdout"].split()[0]
    assert "['left']" in output["stdout"]
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("code", "error_class", "said"),
    [
        ("import sys; sys.exit('disk on fire')", ErrorClass.TRANSIENT, "exit code 1: disk on fire"),
        ("import sys; sys.exit(126)", ErrorClass.PERMANENT, "exit code 126"),
        ("import sys; sys.exit(127)", ErrorClass.PERMANENT, "exit code 127"),
        ("import os; os.kill(os.getpid(), 9)", ErrorClass.TRANSIENT, "killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 11)", ErrorClass.TRANSIENT, "killed by SIGSEGV"),
    ],
)
def test_a_command_that_fails_says_how_and_keeps_its_output(
    code: str, error_class: ErrorClass, said: str
) -> None:
    with pytest.raises(HandlerError, match=said) as caught:
        _run(_python(f"print('before', flush=True); {code}"))

    output = caught.value.context["output"]
    assert caught.value.error_class is error_class
    assert isinstance(output, dict)
    assert output["stdout"] == "before\n"


@pytest.mark.parametrize("command", [["no-such-program"], ["/etc/passwd"], ["/"]])
def test_a_program_that_cannot_be_run_is_a_permanent_error(command: list[str]) -> None:
    with pytest.raises(HandlerError, match="cannot be run") as caught:
        _run(_context(command))

    assert caught.value.error_class is ErrorClass.PERMANENT


def test_arguments_that_are_too_long_are_a_permanent_error() -> None:
    with pytest.raises(HandlerError, match="cannot be run") as caught:
        _run(_context("true", parameters={"text": "x" * 200_000}))

    assert caught.value.error_class is ErrorClass.PERMANENT


def test_endless_output_keeps_its_end_and_does_not_block_the_command() -> None:
    code = (
        "import sys\n"
        "for _ in range(1000):\n"
        "    sys.stdout.write('o' * 1000); sys.stderr.write('e' * 1000)\n"
        "print('the end')"
    )

    output = _run(_python(code))

    assert output["truncated"] is True
    assert len(output["stdout"]) == len(output["stderr"]) == 64 * 1024
    assert output["stdout"].endswith("the end\n")


def test_output_that_is_no_text_is_kept_as_well_as_it_can_be() -> None:
    output = _run(_python(r"import sys; sys.stdout.buffer.write(b'caf\xc3\xa9 \xff')"))

    assert output["stdout"] == "café \ufffd"


def test_at_its_deadline_the_whole_group_is_killed() -> None:
    code = (
        "import subprocess, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(300)"
    )

    with pytest.raises(DeadlineExceeded) as caught:
        _run(_python(code, seconds=1.0))

    output = caught.value.context["output"]
    assert isinstance(output, dict)
    assert not _is_running(int(output["stdout"]))


def test_a_cancelled_command_is_asked_to_end_and_may_tidy_up(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('tidy', flush=True), sys.exit(0)))\n"
        "open(os.environ['READY'], 'w').close()\n"
        "time.sleep(300)"
    )
    context = _python(code, env={"READY": str(ready)})
    stops: list[Cancelled] = []

    def run() -> None:
        try:
            ShellCommand().run(context)
        except Cancelled as stop:
            stops.append(stop)

    runs = threading.Thread(target=run)
    runs.start()
    _until(ready.exists)
    context.is_cancelled = True
    runs.join(10)

    assert not runs.is_alive()
    output = stops[0].context["output"]
    assert isinstance(output, dict)
    assert output["stdout"] == "tidy\n"


@pytest.mark.parametrize("redirected", ["", ">/dev/null 2>&1"])
def test_children_left_in_the_background_do_not_outlive_their_command(redirected: str) -> None:
    script = f"sleep 300 {redirected} & echo $!"

    output = _run(_context(["/bin/sh", "-c", script]))

    assert not _is_running(int(output["stdout"]))


def test_a_command_leaves_no_descriptor_and_no_zombie_behind() -> None:
    worker = psutil.Process()
    _run(_context("true"))
    before = worker.num_fds()

    for _ in range(5):
        _run(_context("true"))

    assert worker.num_fds() == before
    assert not [one for one in worker.children() if one.status() == psutil.STATUS_ZOMBIE]


def test_commands_run_beside_each_other_in_threads() -> None:
    outputs: list[str] = []

    def run(number: int) -> None:
        outputs.append(_run(_context(f"echo {number}"))["stdout"])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(outputs, key=int) == [f"{number}\n" for number in range(16)]


def test_waiting_for_a_command_costs_almost_no_processor_time() -> None:
    began = time.process_time()

    with pytest.raises(DeadlineExceeded):
        _run(_context("sleep 300", seconds=1.0))

    assert time.process_time() - began < 0.3


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    number = signal.SIGRTMIN + 1

    with pytest.raises(HandlerError, match=f"killed by signal {number}"):
        _run(_python(f"import os; os.kill(os.getpid(), {number})"))


def test_a_worker_runs_a_few_programs_at_once_and_who_waits_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "_places", threading.BoundedSemaphore(1))
    gate = tmp_path / "gate"
    first = _python(f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)")
    waiting = _python("print('my turn')", seconds=1.0)
    waiting.is_cancelled = True

    with ThreadPoolExecutor() as threads:
        running = threads.submit(_run, first)
        _until(lambda: process._places._value == 0)
        with pytest.raises(Cancelled):
            _run(waiting)
        waiting.is_cancelled = False
        later = threads.submit(_run, waiting)
        with pytest.raises(TimeoutError):
            later.result(timeout=1.5)
        gate.touch()

        assert running.result()["exit_code"] == 0
        assert later.result()["stdout"] == "my turn\n"
