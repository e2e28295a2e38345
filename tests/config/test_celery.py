"""What Celery is told: the settings of the product that become settings of its workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from config.celery import app
from config.env import CHECKOUT, env

ASK = "import json; from config.celery import app; print(json.dumps({}))"


def told(setting: str, **environment: str) -> object:
    """What Celery is told in a process with that environment."""
    program = ASK.format(f"app.conf.{setting}")
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT, env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: object = json.loads(ended.stdout.splitlines()[-1])
    return answer


def test_a_child_of_a_prefork_worker_has_480_mb_unless_somebody_says_otherwise() -> None:
    assert type(env).model_fields["worker_max_memory_mb"].default == 480
    assert app.conf.worker_max_memory_per_child == env.worker_max_memory_mb * 1024


@pytest.mark.parametrize(("megabytes", "kib"), [("200", 204_800), ("0", None)])
def test_the_memory_of_a_child_is_said_in_megabytes_and_told_in_kib(
    megabytes: str, kib: int | None
) -> None:
    assert told("worker_max_memory_per_child", WORKER_MAX_MEMORY_MB=megabytes) == kib
