"""Around one execution: the handler of the benchmarks, which does nothing, or notes the time."""

from __future__ import annotations

import os
import time
from typing import Final

from pydantic import BaseModel, ConfigDict

from agents_app.handlers.base import Context, Handler, Outcome

TASK_TYPE: Final = "benchmark"
SETTING: Final = f"{TASK_TYPE}=benchmarks.handlers.Nothing"
CLOCKS: Final = "BENCHMARK_CLOCKS"
"""The environment's folder in which every process keeps a file of its starts."""


class NothingConfig(BaseModel):
    """`is_clocked`: each start goes into this process' file. `seconds`: how long it then waits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_clocked: bool = False
    seconds: float = 0.0


class Nothing(Handler[NothingConfig]):
    """Returns at once, unless its config says otherwise."""

    config_model = NothingConfig
    nature = "io"

    def run(self, context: Context[NothingConfig]) -> Outcome:
        if context.config.is_clocked:
            os.write(_clock(), f"{time.time():.6f} {context.execution_id}\n".encode())
        if context.config.seconds:
            time.sleep(context.config.seconds)
        return Outcome(output=None)


_clocks: dict[int, int] = {}


def _clock() -> int:
    pid = os.getpid()
    if pid not in _clocks:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        _clocks[pid] = os.open(f"{os.environ[CLOCKS]}/{pid}", flags, 0o644)
    return _clocks[pid]
