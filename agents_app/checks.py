"""What must fit together before a worker may start: handler paths, the outbound allow-list."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register

from agents_app import tools
from agents_app.clients.addresses import AllowList
from agents_app.handlers import registry
from config.env import env


@register
def handlers_can_be_found(**_: Any) -> list[CheckMessage]:
    """Every entry of EXTRA_HANDLERS names a Handler."""
    try:
        for name in registry.paths():
            registry.resolve(name)
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        return [Error(f"EXTRA_HANDLERS: {error}", id="cadenza.E001")]
    return []


@register
def tools_can_be_found(**_: Any) -> list[CheckMessage]:
    """Every entry of EXTRA_TOOLS names a tool."""
    try:
        for name in tools.names():
            tools.find(name)
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        return [Error(f"EXTRA_TOOLS: {error}", id="cadenza.E005")]
    return []


@register
def outbound_allow_list_can_be_read(**_: Any) -> list[CheckMessage]:
    """Every entry of OUTBOUND_ALLOW is a host, host:port or CIDR."""
    try:
        AllowList(env.outbound_allow)
    except ValueError as error:
        return [Error(f"OUTBOUND_ALLOW: {error}", id="cadenza.E002")]
    return []


@register
def leases_outlive_their_heartbeats(**_: Any) -> list[CheckMessage]:
    """A lease must survive one missed heartbeat, or healthy work would be taken over."""
    if env.lease_seconds < 2 * env.heartbeat_seconds:
        hint = f"LEASE_SECONDS={2 * env.heartbeat_seconds:g} or more fits"
        message = (
            f"LEASE_SECONDS ({env.lease_seconds:g}) is less than twice "
            f"HEARTBEAT_SECONDS ({env.heartbeat_seconds:g})"
        )
        return [Error(message, hint=hint, id="cadenza.E003")]
    return []
