"""Agents of cycles over HTTP: who there is, how much room they have, what they have done."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import Http404
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.api.base import ObjectView
from agents_app.api.filters import AgentFilter
from agents_app.api.serializers import AgentCapacitySerializer, AgentSerializer
from agents_app.models import Agent, Cycle, ModelCall
from agents_app.objects import agents, defaults, standing
from agents_app.objects.standing import Standing
from executions_app import clock, permissions
from executions_app.api import idempotent
from executions_app.api.filters import ExecutionFilter
from executions_app.api.serializers import ExecutionSerializer
from executions_app.api.views import ExecutionView


class AgentView(ObjectView[Agent]):
    """Everybody sees the agents, since every schedule may name one; operators change them."""

    rows = Agent.objects.all()
    serializer_class: Any = AgentSerializer
    computed = frozenset(AgentSerializer.Meta.read_only_fields)

    def get_queryset(self) -> QuerySet[Agent]:
        return self.rows.none() if self.is_described else agents.with_use()

    def get_serializer_context(self) -> dict[str, Any]:
        sees_errors = not self.is_described and permissions.is_operator(self.user)
        return {**super().get_serializer_context(), "sees_errors": sees_errors}

    def standing(self, agent_id: UUID) -> Standing:
        """How one stands; raises Http404."""
        (found,) = standing.of([self.find(id=agent_id)], now=clock.now())
        return found

    def shown(self, agent_id: UUID, *, status: int = 200, **headers: str) -> Response:
        data = self.get_serializer(self.standing(agent_id)).data
        return Response(data, status=status, headers=headers)


class Agents(AgentView):
    filterset_class = AgentFilter

    @extend_schema(operation_id="agent_list", responses=AgentSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Agents with their capacity and health, the newest first."""
        defaults.ensure()
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        found = standing.of(page or [], now=clock.now())
        return self.get_paginated_response(self.get_serializer(found, many=True).data)

    @extend_schema(operation_id="agent_create", responses={201: AgentSerializer})
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Store an agent; the next cycle may choose it."""
        permissions.check_operator(self.user, "make agents")
        row = agents.create(self.words(), actor=self.actor)
        return self.shown(row.id, status=201, Location=reverse("api:agent", args=[row.id]))


class OneAgent(AgentView):
    @extend_schema(operation_id="agent_read")
    def get(self, _request: Request, agent_id: UUID) -> Response:
        """One agent."""
        return self.shown(agent_id)

    @extend_schema(operation_id="agent_change")
    def patch(self, _request: Request, agent_id: UUID) -> Response:
        """Change the fields that are given; a list among them is replaced as a whole."""
        permissions.check_operator(self.user, "change agents")
        agents.change(self.find(id=agent_id).id, self.words(), actor=self.actor)
        return self.shown(agent_id)

    @extend_schema(operation_id="agent_delete", responses={204: None})
    def delete(self, _request: Request, agent_id: UUID) -> Response:
        """Remove an agent that nobody uses, with what it remembers."""
        permissions.check_operator(self.user, "remove agents")
        agents.remove(self.find(id=agent_id).id, actor=self.actor)
        return Response(status=204)


class AgentCapacity(AgentView):
    serializer_class = AgentCapacitySerializer

    @extend_schema(operation_id="agent_capacity", responses=AgentCapacitySerializer)
    def get(self, _request: Request, agent_id: UUID) -> Response:
        """How many cycles it works on at most, now, and could begin besides."""
        return self.shown(agent_id)


class Sessions(ExecutionView):
    """Executions that an agent has worked on; the caller sees their own."""

    filterset_class = ExecutionFilter

    @extend_schema(operation_id="agent_sessions", responses=ExecutionSerializer(many=True))
    def get(self, _request: Request, agent_id: UUID) -> Response:
        """Executions of one agent, the newest first; with the filters of all executions."""
        agent = Agent.objects.filter(id=agent_id).first()
        if agent is None:
            raise Http404
        rows = self.filter_queryset(self.get_queryset())
        if self.looked_through is None:  # no index finds the executions of an agent
            self.looked_through = rows
        page = self.paginate_queryset(rows.filter(_of(agent)))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


def _of(agent: Agent) -> Q:
    """Executions that an agent carries out, was asked in, or was to carry out.

    A cycle says who carries it out now: of one that goes on without its agent, because nobody was
    up, only its execution and the calls of models still tell whose it is.
    """
    cycles = Cycle.objects.filter(execution_id=OuterRef("id"))
    calls = ModelCall.objects.filter(execution_id=OuterRef("id"), agent_id=agent.id)
    is_named = Q(Exists(cycles), snapshot__task_config__agent=agent.name)
    return Q(Exists(cycles.filter(agent_id=agent.id))) | Q(Exists(calls)) | is_named
