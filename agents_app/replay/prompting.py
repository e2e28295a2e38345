"""Whether a model would be asked the same today: stored prompts beside today's templates."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from agents_app.agent_config import AgentConfig
from agents_app.clients.llm_rows import MOST_KEPT
from agents_app.models import ModelCall, Provider
from agents_app.models_cycles import Phase
from agents_app.planning import prompts, room
from agents_app.planning.prompts import Material
from agents_app.replay.recorded import PHASES, Recorded
from config.env import env
from executions_app.scrub import storable_without_secrets

MOST_LINES: Final = 60
SAID_BY_THE_DOOR: Final = (
    "Answer with one JSON object and nothing else.",
    '{"additionalProperties"',
)
CUT_FROM: Final = MOST_KEPT - 2_048
WRITTEN_ANEW: Final = Phase.PLAN
"""Its prompt is made of nothing but the context and the analysis, as they are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The prompt of a phase. `difference`: its text then and now, where it can be written anew."""

    phase: str
    template: str
    hash_then: str
    hash_now: str
    difference: tuple[str, ...] | None

    @property
    def is_same(self) -> bool:
        return self.hash_then == self.hash_now and not self.difference

    @property
    def words(self) -> str:
        if self.hash_then != self.hash_now:
            changed = f"the template has changed ({self.hash_then} then, {self.hash_now} now)"
            if self.difference is None:
                return f"{changed}: the prompt would read differently"
            if not self.difference:
                return f"{changed}; of this context it would read the same"
            lines = sum(one.startswith(("+", "-")) for one in self.difference)
            return f"{changed}: {lines} lines of the prompt would read differently"
        if self.difference:
            return (
                f"the template is the same ({self.hash_now}), but limits or settings have changed: "
                "the prompt would read differently"
            )
        return f"the template is the same ({self.hash_now})"

    def as_json(self) -> dict[str, Any]:
        return {
            "phase": self.phase,
            "template": self.template,
            "hash_then": self.hash_then,
            "hash_now": self.hash_now,
            "is_same": self.is_same,
            "difference": None if self.difference is None else list(self.difference),
        }


def compared(recorded: Recorded, *, config: AgentConfig) -> Iterator[Prompt]:
    """The first prompt of each phase that a model was asked in."""
    for phase in PHASES:
        asked = recorded.askings.get(phase)
        if asked:
            call = asked[0].calls[0]
            yield Prompt(
                phase=phase.value,
                template=call.template,
                hash_then=call.template_hash,
                hash_now=prompts.template_hash(call.template),
                difference=_difference(call, recorded, config=config),
            )


def _difference(
    call: ModelCall, recorded: Recorded, *, config: AgentConfig
) -> tuple[str, ...] | None:
    is_written_anew = call.phase == call.template == WRITTEN_ANEW
    if not is_written_anew or _is_cut(call.request):
        return None
    analysis = recorded.analysis.as_json() if recorded.analysis else None
    material = Material(analysis=analysis, most_steps=env.max_plan_steps)
    rendered = prompts.messages_for(
        call.phase, recorded.context, limits=config.prompt_optimization, material=material
    )
    fitting = rendered.within(_most_of_the_prompt(call))
    messages, _ = storable_without_secrets(
        [one.as_json() for one in fitting.messages], max_bytes=MOST_KEPT
    )
    now = _lines(messages)
    found = difflib.unified_diff(_as_rendered(_lines(call.request), now), now, "then", "now", n=0)
    changed = [one for one in found if not one.startswith(("---", "+++", "@@"))]
    return tuple(changed[:MOST_LINES])


def _most_of_the_prompt(call: ModelCall) -> int | None:
    """What its model holds of a prompt, as its provider says today."""
    provider = Provider.objects.filter(name=call.provider).first()
    if provider is None:
        return None
    wanted = room.wanted_in(call.phase, most_steps=env.max_plan_steps)
    most = env.llm_answer_tokens
    return room.found(wanted, provider=provider, model=call.model, most=most).prompt


def _lines(messages: Any) -> list[str]:
    texts = (str(one.get("content", "")) for one in messages if isinstance(one, dict))
    return [line for text in texts for line in text.splitlines() if line.strip()]


def _as_rendered(stored: list[str], rendered: list[str]) -> list[str]:
    """Without the form of the answer, which the door says in words where a provider wants that."""
    known = set(rendered)
    return [one for one in stored if one in known or not _is_of_the_door(one)]


def _is_of_the_door(line: str) -> bool:
    return line.startswith(SAID_BY_THE_DOOR)


def _is_cut(request: Any) -> bool:
    return len(json.dumps(request, ensure_ascii=False).encode()) >= CUT_FROM
