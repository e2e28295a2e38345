"""Carries out `llm`: one question to a model, made of a prompt and the execution's parameters."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from agents_app import budget, connections
from agents_app.agent_config import Budget
from agents_app.clients import llm, statuses
from agents_app.clients.llm_errors import ModelNotConfigured
from agents_app.handlers import llm_prompt
from agents_app.handlers.base import Context, Handler, Outcome
from agents_app.models import Provider
from agents_app.models_cycles import Phase
from agents_app.objects import defaults, environment
from agents_app.objects.environment import DEFAULT
from agents_app.planning import parsing
from agents_app.planning.problems import Problem
from config.env import env
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock

Prompt = Annotated[str, Field(max_length=100_000), AfterValidator(llm_prompt.checked)]
MOST_TOKENS: Final = 200_000


class LlmConfig(BaseModel):
    """`task_config` of an `llm` schedule.

    `prompt` and `system` are Jinja templates of the parameters. `provider`: its name; without it
    the default one. `json`: the answer must be a JSON object, and its value is kept beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    prompt: Annotated[Prompt, Field(min_length=1)]
    system: Prompt = ""
    provider: Annotated[str, Field(max_length=200)] = ""
    model: Annotated[str, Field(max_length=200)] = ""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.2
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 1000
    is_json: Annotated[bool, Field(alias="json")] = False


class Llm(Handler[LlmConfig]):
    """Asks once; the model's door tries again what may pass, recovery whatever else may."""

    config_model = LlmConfig
    nature = "io"

    def run(self, context: Context[LlmConfig]) -> Outcome:
        """The answer with its tokens and cost; raises ModelError, BudgetSpent."""
        of = _of(context)
        try:
            question = _question(context, of)
            limits = budget.limits_of(of, Budget(), now=clock.now())
        finally:
            connections.let_go()
        answer = budget.asking(limits)(question)
        output: dict[str, JsonValue] = {
            "text": answer.text,
            "model": question.model,
            "tokens": _tokens(answer),
            "cost_usd": str(answer.spent_usd),
            "finish_reason": answer.finish_reason,
        }
        if context.config.is_json:
            output["json"] = _value(answer)
        return Outcome(output=output)


def _question(context: Context[LlmConfig], of: llm.Of) -> llm.Question:
    config, provider = context.config, _provider(context.config.provider)
    return llm.Question(
        provider=provider,
        model=config.model or _model(provider),
        messages=_messages(context),
        phase=Phase.LLM,
        of=of,
        wants_json=config.is_json,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        deadline=time.monotonic() + (context.deadline - datetime.now(UTC)).total_seconds(),
        attempt=context.attempt,
        check=context.check,
    )


def _messages(context: Context[LlmConfig]) -> tuple[llm.Message, ...]:
    parts = (("system", context.config.system), ("user", context.config.prompt))
    return tuple(
        llm.Message(role, llm_prompt.filled(text, context.parameters))
        for role, text in parts
        if text
    )


def _provider(name: str) -> Provider:
    rows = Provider.objects.select_related("credential")
    if not name:
        defaults.ensure()
    found = rows.filter(name=name or DEFAULT).first()
    if found is None and not name:
        enabled = list(rows.filter(enabled=True).order_by("id")[:2])
        found = enabled[0] if len(enabled) == 1 else None
    if found is not None:
        return found
    if name:
        raise ModelNotConfigured(f"There is no provider {name!r}; correct task_config.provider")
    raise ModelNotConfigured(
        "There is no default provider of models; set OPENAI_API_KEY, or name one in "
        "task_config.provider"
    )


def _model(provider: Provider) -> str:
    """The model of the environment for its own provider, else the first that is listed."""
    given = environment.provider() if provider.is_from_environment else None
    if given is not None:
        return given.model
    listed = [one.get("name") for one in provider.models if isinstance(one, dict)]
    return str(listed[0] or "") if listed else env.llm_model


def _of(context: Context[Any]) -> llm.Of:
    claimed = getattr(context, "claimed", None)
    return llm.Of(
        execution_id=context.execution_id,
        schedule_id=getattr(claimed, "schedule_id", None),
        owner_id=getattr(claimed, "owner_id", None),
        request_id=statuses.request_id_of(context),
    )


def _tokens(answer: llm.Answer) -> JsonValue:
    return {
        "prompt": answer.prompt_tokens,
        "completion": answer.completion_tokens,
        "total": answer.spent_tokens,
        "is_estimated": answer.is_estimated,
    }


def _value(answer: llm.Answer) -> JsonValue:
    found = parsing.parse(answer.text, finish_reason=answer.finish_reason)
    if isinstance(found, Problem):
        llm.mark_malformed(answer.call_id, found.malformed_class, [found.message])
        raise HandlerError(
            f"The model was asked for JSON and gave none: {found.message}",
            error_class=ErrorClass.MALFORMED,
        )
    return found
