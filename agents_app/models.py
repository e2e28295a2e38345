"""How: what a cycle may use (credentials, providers, agents, endpoints), what it did, and memory.

`objects` writes what people set, `cycle` its own rows, `clients.llm` the calls of models.
"""

from __future__ import annotations

from agents_app.models_approvals import PlanApproval as PlanApproval
from agents_app.models_cycles import Cycle as Cycle
from agents_app.models_cycles import CycleStage as CycleStage
from agents_app.models_cycles import CycleStatus as CycleStatus
from agents_app.models_cycles import ModelCall as ModelCall
from agents_app.models_cycles import Reservation as Reservation
from agents_app.models_cycles import Tier as Tier
from agents_app.models_memory import Memory as Memory
from agents_app.models_objects import Agent as Agent
from agents_app.models_objects import Credential as Credential
from agents_app.models_objects import Endpoint as Endpoint
from agents_app.models_objects import Provider as Provider
