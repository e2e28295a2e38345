"""What is kept of a cycle once its end is committed: a memory for the next, and if it was dear.

Neither is part of the execution: whatever goes wrong here has failed nothing.
"""

from __future__ import annotations

import logging

from agents_app import memory, spikes
from agents_app.cycle import holder, rows
from agents_app.cycle.keeping import Work
from agents_app.cycle.thinking import Thinker
from agents_app.models import Cycle
from executions_app.models import Execution

logger = logging.getLogger(__name__)


def note(cycle: Cycle, work: Work) -> None:
    """Remember how it went; compare what it used with what others of its schedule did."""
    try:
        execution = Execution.objects.get(id=cycle.execution_id)
        ended = rows.find(cycle.id)
        thinker = Thinker(ended, holder.config_in(execution.snapshot), work)
        said = f"{execution.status}, {execution.outcome}"
        memory.remember_cycle(ended, outcome=said, embed=thinker.embed)
        spikes.analyse(cycle.id)
    except Exception:
        logger.exception("What is to be kept of cycle %s was not", cycle.id)
