"""What is kept of a cycle once its end is committed: a memory for the next, and if it was dear.

Neither is part of the execution: whatever goes wrong here has failed nothing.
"""

from __future__ import annotations

import logging

from agents_app import connections, memory, spikes
from agents_app.cycle import rows
from agents_app.models import Cycle
from executions_app.models import Execution
from executions_app.states import ACTIVE

logger = logging.getLogger(__name__)


def note(cycle: Cycle, *, because: str = "") -> None:
    """Remember how it went; compare what it used with what others of its schedule did.

    `because`: why nothing was done, where that is so. Nothing while its execution is to be tried
    again: how that goes is not known yet.
    """
    try:
        execution = Execution.objects.get(id=cycle.execution_id)
        if execution.status in ACTIVE:
            return
        ended = rows.find(cycle.id)
        went = f"{execution.status}, {execution.outcome}"
        memory.remember_cycle(ended, outcome=f"{went}: {because}" if because else went)
        spikes.analyse(cycle.id)
    except Exception:
        logger.exception("What is to be kept of cycle %s was not", cycle.id)
    finally:
        connections.let_go()
