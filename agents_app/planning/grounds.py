"""What an answer of a model was checked against, as it is kept with the call. Pure.

Names, limits and the instant of the check: enough to check the same answer in the same way later.
Schemas are kept as fingerprints; the texts of them stand with the endpoints and in the context.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from agents_app.planning.authority import Rights
from agents_app.planning.contracts import Json, written
from agents_app.planning.validation import AdviceLimits, PlanLimits


def fingerprint(schema: Mapping[str, Any]) -> str:
    """12 hex digits that differ for schemas that differ."""
    text = json.dumps(dict(schema), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def of_plan(rights: Rights, limits: PlanLimits) -> Json:
    """What a plan might name, and its limits."""
    return {
        "open": [
            [target, name, fingerprint(offer.schema)]
            for (target, name), offer in rights.open.items()
        ],
        "withheld": [[target, name, why] for (target, name), why in rights.withheld.items()],
        "most_steps": limits.most_steps,
        "most_concurrency": limits.most_concurrency,
        "strategy": limits.strategy,
    }


def of_advice(limits: AdviceLimits) -> Json:
    """The instant from which the next run was judged."""
    return {"now": written(limits.now)}


def of_analysis(tools: Sequence[str], *, most_parts: int) -> Json:
    """The tools that there were."""
    return {"tools": [*sorted(tools)], "most_parts": most_parts}
