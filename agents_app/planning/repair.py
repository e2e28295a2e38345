"""A second chance for a model: its own answer, all that is wrong with it, and the question again.

Every repair shows the latest answer with its problems, never an older one, and nothing of the
repairs before: the conversation does not grow with the attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from agents_app.clients.llm_question import Message, Question
from agents_app.planning import prompts
from agents_app.planning.problems import Problem
from executions_app.scrub import storable_text

MOST_ANSWER: Final = 16_000
MOST_SHOWN: Final = 100
TEMPLATE: Final = "repair"
_GAP: Final = "\n[... the middle is left out ...]\n"
_PLAIN_TASK: Final = "Your last answer was empty. Answer the question above, in plain text."


def question_after(first: Question, *, text: str, problems: Sequence[Problem]) -> Question:
    """`first` once more, with the answer `text` that was refused, and why; at temperature 0."""
    said = _shown(text)
    # A turn with nothing in it is refused by some servers; what is wrong says that it was empty.
    turns = [Message("assistant", said)] if said.strip() else []
    repeated = replace(first, temperature=0.0, is_repair=True)
    if first.schema is None:
        return replace(repeated, messages=(*first.messages, *turns, Message("user", _PLAIN_TASK)))
    rendered = prompts.render(TEMPLATE, problems=_listed(problems), schema=None)
    return replace(
        repeated,
        messages=(*first.messages, *turns, *rendered.messages),
        template=rendered.template,
        template_hash=rendered.template_hash,
    )


def _shown(text: str) -> str:
    """An answer as it can be sent: storable, and bounded from its middle."""
    if len(text) > MOST_ANSWER:
        half = (MOST_ANSWER - len(_GAP)) // 2
        text = text[:half] + _GAP + text[-half:]
    return storable_text(text)


def _listed(problems: Sequence[Problem]) -> list[str]:
    lines = [str(one) for one in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        lines.append(f"and {len(problems) - MOST_SHOWN} more")
    return lines
