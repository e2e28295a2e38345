"""The proof's surroundings: its fresh folder, its own environment, a system that does not start."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from config.demo import proof
from config.demo.proof import ProofImpossible, fresh_folder


def be_silent(words: str, done: int = 0, total: int = 0) -> None:
    """Nobody watches."""


def system_that_runs(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(proof, "SYSTEM", (sys.executable, "-c", program))


def test_a_made_folder_is_empty_and_deleted_afterwards() -> None:
    with fresh_folder(None) as folder:
        assert list(folder.path.iterdir()) == []
        (folder.path / "data").touch()

    assert not folder.path.exists()


def test_a_folder_of_interest_stays(tmp_path: Path) -> None:
    with fresh_folder(None) as folder:
        folder.stays = True

    assert folder.path.is_dir()
    folder.path.rmdir()


def test_a_folder_with_something_in_it_is_refused_and_untouched() -> None:
    with fresh_folder(None) as used:
        (used.path / "precious").touch()

        with pytest.raises(ProofImpossible, match="is not empty"), fresh_folder(str(used.path)):
            pass

        assert (used.path / "precious").exists()


def test_no_setting_of_this_installation_reaches_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere/precious")
    monkeypatch.setenv("PORT", "8000")
    told = tmp_path / "told"
    keys = "DATABASE_URL", "REDIS_URL", "PORT", "CADENZA_DATA_DIR"
    program = (
        f"import os; print([os.environ.get(k) for k in {keys}], file=open({str(told)!r}, 'w'))"
    )
    system_that_runs(monkeypatch, program)

    with pytest.raises(ProofImpossible):
        proof.prove(tmp_path / "data", be_silent)

    assert told.read_text() == f"{[None, None, None, str(tmp_path / 'data')]}\n"


def test_a_system_that_does_not_start_is_reported_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system_that_runs(monkeypatch, "raise SystemExit('no room left')")

    with pytest.raises(ProofImpossible, match="no room left"):
        proof.prove(tmp_path, be_silent)


def test_an_interrupted_proof_stops_its_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    program = (
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid()));"
        """print('{"database_url": ""}', flush=True); time.sleep(600)"""
    )
    system_that_runs(monkeypatch, program)

    def interrupt_when_it_runs(words: str, done: int = 0, total: int = 0) -> None:
        if pid_file.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proof.prove(tmp_path, interrupt_when_it_runs)

    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_folder_without_a_proof_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(ProofImpossible, match="holds no proof"):
        proof.judge_again(tmp_path)


def test_settings_of_a_file_that_name_other_services_forbid_the_proof(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://somewhere/precious\n")
    monkeypatch.setattr(proof, "CHECKOUT", tmp_path)

    with pytest.raises(ProofImpossible, match="sets DATABASE_URL"):
        proof.prove(tmp_path / "data", be_silent)

    assert not (tmp_path / "data").exists()
