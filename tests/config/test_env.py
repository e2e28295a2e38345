"""Settings: every mistake at once, and an example file that never falls behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.env import CHECKOUT, Env, generated_secret


def test_the_example_file_names_every_setting_with_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in Env.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    lines = (CHECKOUT / ".env.example").read_text().splitlines()
    written = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))

    assert set(written) == {name.upper() for name in Env.model_fields}
    given = {name.lower(): value for name, value in written.items() if value}
    assert Env.model_validate(given) == Env.model_construct()


def test_a_wrong_environment_stops_the_start_and_lists_every_problem() -> None:
    wrong = {
        "PATH": os.environ["PATH"],
        "PORT": "eighty",
        "DATABASE_URL": "mysql://x",
        "LEASE_SECONDS": "-1",
    }

    ended = subprocess.run(
        [sys.executable, "-c", "import config.env"],
        cwd=CHECKOUT, env=wrong, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 2
    for name in ("PORT", "DATABASE_URL", "LEASE_SECONDS"):
        assert name in ended.stderr
    assert "mysql" not in ended.stderr


def test_a_generated_secret_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "secret"

    first, second = generated_secret(path), generated_secret(path)

    assert first == second
    assert len(first) >= 48
    assert path.stat().st_mode & 0o077 == 0


def test_a_generated_key_of_secrets_is_one_that_the_environment_would_take(tmp_path: Path) -> None:
    made = Env.model_construct().encryption_keys(tmp_path)

    again = Env.model_construct().encryption_keys(tmp_path)
    named = Env.model_validate({"field_encryption_keys": made[0]})

    assert made == again == named.field_encryption_keys
    assert named.encryption_keys(tmp_path / "elsewhere") == made
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("keys", ["short", "A" * 43 + "=,short", "ä" * 43 + "="])
def test_a_key_that_is_none_is_refused(keys: str) -> None:
    with pytest.raises(ValidationError):
        Env.model_validate({"field_encryption_keys": keys})


def test_production_refuses_to_invent_a_secret() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        cwd=CHECKOUT, env={"PATH": os.environ["PATH"], "DJANGO_ENV": "production"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode != 0
    assert "SESSION_SECRET" in ended.stderr


@pytest.mark.parametrize(
    "url", ["ftp://local/v1", "local/v1", "https://", "https://me:word@local/v1", "https://a/?b=c"]
)
def test_an_address_of_models_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Env.model_validate({"openai_base_url": url})


def test_an_address_of_models_has_no_slash_at_its_end() -> None:
    named = Env.model_validate({"openai_base_url": "http://ollama:11434/v1/"})

    assert named.openai_base_url == "http://ollama:11434/v1"


def test_keys_of_models_are_not_part_of_what_is_printed() -> None:
    named = Env.model_validate({"openai_api_key": "do-not-show", "anthropic_api_key": "nor-this"})

    assert "do-not-show" not in repr(named)
    assert "nor-this" not in repr(named)
