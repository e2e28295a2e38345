"""The web process as a program: uvicorn, which is told to stop by SIGTERM and then ends with 0.

`python -m config.web` takes uvicorn's own options. Without this uvicorn answers the requests that
it has, closes its WebSockets with 1012 and then dies by the signal, which looks like a failure to
whoever watches it.
"""

from __future__ import annotations

import signal
import sys
from typing import Final

import uvicorn

APPLICATION = "config.asgi:application"
# Before what the caller says, which comes last and wins.
SAID: Final = ("--ws", "config.web_sockets:BoundedWebSocket")


def end(_number: int, _frame: object) -> None:
    """Uvicorn raises its signals once more when everything is closed; this is where they arrive."""
    sys.exit(0)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    uvicorn.main([APPLICATION, *SAID, *sys.argv[1:]])
