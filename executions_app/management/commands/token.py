"""`manage.py token`: personal tokens, with which machines sign in to the API."""

from __future__ import annotations

from argparse import ArgumentParser

from executions_app import clock, tokens
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    DoorCommand,
    Options,
    Verbs,
    actor,
    add_acting_user,
    add_common_options,
    as_uuid,
    moment_of,
    table,
    user_named,
)
from executions_app.models import ApiToken
from executions_app.wording import moment

FIELDS = ("id", "name", "prefix", "expires_at", "last_used_at", "revoked_at", "created_at")


class Command(DoorCommand):
    help = "Personal tokens for the API (Authorization: Bearer ...)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        creating = verbs.add("create", self.create, help_text="a new token, shown only now")
        creating.add_argument("--user", required=True, metavar="NAME", help="whose token it is")
        creating.add_argument("--name", default="command line", help="what it is for")
        creating.add_argument("--expires-at", metavar="ISO")
        listing = verbs.add("list", self.list_all, help_text="tokens, the newest first")
        listing.add_argument("--user", metavar="NAME", help="only those of this user")
        revoking = verbs.add("revoke", self.revoke, help_text="make a token unusable for good")
        revoking.add_argument("token", metavar="ID|PREFIX")
        add_acting_user(revoking)

    def create(self, options: Options) -> Answer:
        text = options["expires_at"]
        expires_at = moment_of(text, field="expires_at") if text else None
        user = user_named(options["user"])
        try:
            token, plain = tokens.create(
                user, name=options["name"], now=clock.now(), expires_at=expires_at
            )
        except ValueError as error:
            todo = "Name an instant in the future"
            raise CommandProblem(
                str(error), todo, Exit.USAGE, fields={"expires_at": str(error)}
            ) from None
        document = {"token": plain, "user": user.get_username(), **_document(token)}
        return Answer(document, plain)

    def list_all(self, options: Options) -> Answer:
        chosen = ApiToken.objects.select_related("user").order_by("-id")
        if options["user"]:
            chosen = chosen.filter(user=user_named(options["user"]))
        found, now = list(chosen), clock.now()
        rows = (
            (
                one.prefix,
                one.name,
                one.user.get_username(),
                _state(one),
                moment(one.last_used_at, now=now),
                moment(one.expires_at, now=now),
            )
            for one in found
        )
        shown = table("PREFIX", "NAME", "USER", "IS", "LAST USED", "EXPIRES", rows=rows)
        return Answer([{**_document(one), "user": one.user.get_username()} for one in found], shown)

    def revoke(self, options: Options) -> Answer:
        token = _token_named(options["token"])
        tokens.revoke(token, actor=actor(options), now=clock.now())
        return Answer(_document(token), f"Token {token.prefix}... is revoked")


def _token_named(reference: str) -> ApiToken:
    as_id = as_uuid(reference)
    chosen = (
        ApiToken.objects.filter(id=as_id) if as_id else ApiToken.objects.filter(prefix=reference)
    )
    found = list(chosen[:2])
    if len(found) == 1:
        return found[0]
    what = "Several tokens have" if found else "There is no token with"
    todo = "`manage.py token list --json` shows their ids"
    raise CommandProblem(f"{what} the prefix or id {reference!r}", todo, Exit.NOT_FOUND)


def _document(token: ApiToken) -> dict[str, object]:
    return {name: getattr(token, name) for name in FIELDS}


def _state(token: ApiToken) -> str:
    return "revoked" if token.revoked_at else "valid"
