"""Where the errors begin that may be in no incident yet: what was folded is not walked past again.

The index of what is to be folded keeps an entry of each error that it had, for as long as somebody
looks at an old state of the database (a dump, a long report). A beat that looks once a second
would walk past all of them each time; so it begins where it knows that everything was folded, and
only now and then at the very beginning.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from executions_app import ids

BEGINNING: Final = UUID(int=0)
MARGIN: Final = timedelta(minutes=10)  # an error takes its id before its transaction commits
FROM_THE_BEGINNING_SECONDS: Final = 600.0


class _Look:
    since = BEGINNING
    folded_until = BEGINNING
    again_at = 0.0


def begin() -> UUID:
    """From which id on this round looks."""
    is_time = time.monotonic() >= _Look.again_at
    _Look.since = BEGINNING if is_time else _Look.folded_until
    return _Look.since


def folded(until: datetime) -> None:
    """At this instant no error waited, of those that were looked at."""
    if _Look.since == BEGINNING:
        _Look.again_at = time.monotonic() + FROM_THE_BEGINNING_SECONDS
    _Look.folded_until = max(_Look.folded_until, ids.floor(until - MARGIN))
