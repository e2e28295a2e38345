"""The supervisor: real processes that die, hang, fork and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import supervisor
from config.embedded_daemon import wait_until
from config.supervisor import (
    ProcfileError,
    StopSignals,
    Supervised,
    Supervisor,
    marked,
    read_procfile,
)

SUPERVISOR_OF = """
import os, sys
from pathlib import Path
from config.supervisor import StopSignals, Supervisor, read_procfile
folder = Path(sys.argv[1])
signals = StopSignals()
signals.listen()
supervisor = Supervisor(
    environment=dict(os.environ), mark=str(folder), cwd=folder, logs=folder, signals=signals,
    report=lambda text: print(text, flush=True), drain_seconds=float(sys.argv[2]),
)
supervisor.end_leftovers()
supervisor.start(read_procfile(folder / "Procfile"))
supervisor.watch(each_tick=lambda: None, until=lambda: False)
supervisor.stop()
"""
SLEEPS = "import time; time.sleep(600)"
OBEYS = """
import signal, sys, time
def leave(*_):
    open("ended", "a").write(sys.argv[1] + " ")
    sys.exit()
signal.signal(signal.SIGTERM, leave)
open("started", "a").write(sys.argv[1] + " ")
time.sleep(600)
"""
IGNORES_AND_FORKS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    open("started", "a").write(sys.argv[1] + " ")
time.sleep(600)
"""
DIES = """
import sys
open("started", "a").write(sys.argv[1] + " ")
sys.exit(3)
"""


def procfile(folder: Path, scripts: dict[str, str]) -> None:
    """A Procfile whose process NAME runs the script with NAME as argument."""
    lines = []
    for name, script in scripts.items():
        (folder / f"{name}.py").write_text(script)
        lines.append(f"{name}: {sys.executable} {folder / name}.py {name}\n")
    (folder / "Procfile").write_text("".join(lines))


def words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@contextmanager
def supervising(folder: Path, *, drain_seconds: float = 5) -> Iterator[subprocess.Popen[str]]:
    """A supervisor of the folder's Procfile, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR_OF, str(folder), str(drain_seconds)],
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for process in marked(str(tmp_path)):
        process.kill()


def in_this_process(folder: Path) -> Supervisor:
    return Supervisor(
        environment=dict(os.environ),
        mark=str(folder),
        cwd=folder,
        logs=folder,
        report=lambda _text: None,
        signals=StopSignals(),
        drain_seconds=5,
    )


def eventually(condition: Callable[[], bool]) -> bool:
    return wait_until(condition, seconds=20)


def test_a_procfile_is_read_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("# note\nweb: serve $PORT\n\nbeat_1: tick: tock\n")

    commands = read_procfile(tmp_path / "Procfile")

    assert list(commands.items()) == [("web", "serve $PORT"), ("beat_1", "tick: tock")]


@pytest.mark.parametrize("wrong", ["web serve", "web:", ": serve", "web: a\nweb: b", "a/b: c"])
def test_a_wrong_line_of_a_procfile_is_named(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "Procfile").write_text(wrong)

    with pytest.raises(ProcfileError, match="line"):
        read_procfile(tmp_path / "Procfile")


def test_variables_in_a_command_come_from_the_environment_given(folder: Path) -> None:
    one = in_this_process(folder)
    one.environment["GREETING"] = "hello there"

    one.start({"web": "env A=b printf '%s' $GREETING"})

    assert eventually(lambda: (folder / "web.log").read_text() == "hello there")
    one.stop()


def test_what_dies_is_started_again(folder: Path) -> None:
    procfile(folder, {"web": DIES, "beat": OBEYS})

    with supervising(folder) as running:
        assert eventually(lambda: words(folder / "started").count("web") >= 3)
        assert words(folder / "started").count("beat") == 1
        running.terminate()
        said = running.communicate()[0]

    assert "web ended (status 3); starts again in 0.5 s" in said
    assert "web ended (status 3); starts again in 1 s" in said


def test_pauses_double_up_to_a_limit_and_begin_anew_after_a_steady_life(folder: Path) -> None:
    process = Supervised("web", "false", folder / "web.log")

    def pause_after(*, life_seconds: float) -> float:
        process.start(dict(os.environ), cwd=folder)
        ended_at = process.started_at + life_seconds
        assert process.bury(now=ended_at) == 1
        return process.start_again_at - ended_at

    pauses = [pause_after(life_seconds=1) for _ in range(8)]
    after_a_steady_life = pause_after(life_seconds=supervisor.STEADY_SECONDS)

    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30])
    assert after_a_steady_life == pytest.approx(0.5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_kind_after_kind_and_leaves_nothing(
    folder: Path, number: signal.Signals
) -> None:
    procfile(folder, {"web": OBEYS, "beat_1": OBEYS, "beat_2": OBEYS, "worker": OBEYS})

    with supervising(folder) as running:
        assert eventually(lambda: len(words(folder / "started")) == 4)
        running.send_signal(number)
        running.communicate()

    ended = words(folder / "ended")
    assert (ended[0], set(ended[1:3]), ended[3]) == ("web", {"beat_1", "beat_2"}, "worker")
    assert running.returncode == 0
    assert list(marked(str(folder))) == []


def test_what_does_not_end_is_killed_with_all_it_forked(folder: Path) -> None:
    procfile(folder, {"worker": IGNORES_AND_FORKS})

    with supervising(folder, drain_seconds=0.5) as running:
        assert eventually(lambda: len(list(marked(str(folder)))) == 2)
        assert eventually(lambda: words(folder / "started") == ["worker"])
        running.terminate()
        said = running.communicate()[0]

    assert "worker does not end by itself and is killed" in said
    assert list(marked(str(folder))) == []


def test_a_second_signal_ends_the_waiting(folder: Path) -> None:
    procfile(folder, {"worker": IGNORES_AND_FORKS})

    with supervising(folder, drain_seconds=600) as running:
        assert eventually(lambda: words(folder / "started") == ["worker"])
        while running.poll() is None:
            running.terminate()
            time.sleep(0.05)

    assert list(marked(str(folder))) == []


def test_a_killed_supervisor_takes_its_processes_along(folder: Path) -> None:
    procfile(folder, {"web": OBEYS, "worker": OBEYS})

    with supervising(folder) as running:
        assert eventually(lambda: len(words(folder / "started")) == 2)
        running.kill()

    assert eventually(lambda: list(marked(str(folder))) == [])
    assert set(words(folder / "ended")) == {"web", "worker"}


def test_after_a_killed_supervisor_the_next_one_has_the_only_set_of_processes(folder: Path) -> None:
    procfile(folder, {"web": OBEYS, "worker": IGNORES_AND_FORKS})
    with supervising(folder) as killed:
        assert eventually(lambda: len(words(folder / "started")) == 2)
        killed.kill()
    (folder / "started").unlink()

    with supervising(folder, drain_seconds=0.5) as running:
        assert eventually(lambda: len(words(folder / "started")) == 2)
        names = [Path(process.cmdline()[1]).stem for process in marked(str(folder))]
        running.terminate()
        running.communicate()

    assert sorted(names) == ["web", "worker", "worker"]
    assert list(marked(str(folder))) == []


def test_a_command_run_once_gives_its_output(folder: Path) -> None:
    assert in_this_process(folder).run_once("greet", ["echo", "hello"]) == "hello\n"


def test_a_command_that_fails_says_why(folder: Path) -> None:
    one = in_this_process(folder)

    with pytest.raises(subprocess.CalledProcessError) as failed:
        one.run_once("fail", ["sh", "-c", "echo because >&2; exit 4"])

    assert (failed.value.returncode, failed.value.stderr) == (4, "because")


def test_a_signal_ends_a_command_that_runs_once(folder: Path) -> None:
    one = in_this_process(folder)
    one.signals.count = 1

    assert one.run_once("sleep", [sys.executable, "-c", SLEEPS]) is None
    assert list(marked(str(folder))) == []


def test_a_log_that_grew_too_long_is_kept_once_and_emptied(folder: Path) -> None:
    process = Supervised("web", "true", folder / "web.log")
    process.log.write_bytes(b"x" * (supervisor.LOG_LIMIT_BYTES + 1))

    process.limit_log()

    assert process.log.stat().st_size == 0
    assert (folder / "web.log.1").stat().st_size == supervisor.LOG_LIMIT_BYTES + 1
