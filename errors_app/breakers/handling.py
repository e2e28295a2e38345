"""What people do about endpoints that executions are kept from: let calls go out again."""

from __future__ import annotations

from django.db import transaction

from errors_app.breakers import recorder, store
from errors_app.breakers.store import Store
from errors_app.models import Breaker
from executions_app import audit, clock
from executions_app.audit import Actor


def reset(breaker: Breaker, *, actor: Actor, note: str = "") -> Breaker:
    """Close a breaker and forget what it counted; processes notice within a second.

    Raises StoreAway, having done nothing, while Redis is away.
    """
    standing = Store(store.client(), store.rules()).reset(breaker.key, why=f"reset by {actor.name}")
    with transaction.atomic():
        if standing.change is not None:
            recorder.record(standing.change, worker=recorder.worker())
        else:
            recorder.see([standing], worker=recorder.worker())
        audit.record(
            actor,
            "breaker.reset",
            object_type="breaker",
            object_id=breaker.id,
            now=clock.now(),
            before={"key": breaker.key, "state": breaker.state},
            after={"state": standing.state.value},
            note=note,
        )
    breaker.refresh_from_db()
    return breaker
