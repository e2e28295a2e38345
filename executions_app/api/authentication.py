"""Whose executions a request may see: a person's session, or the personal token of a machine."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from executions_app import tokens
from executions_app.models import ApiToken

SCHEME: Final = "bearer"


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer` and a personal token."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """The token's user; None without a bearer token, so that a session is looked for."""
        scheme, _, plain = get_authorization_header(request).partition(b" ")
        if scheme.lower() != SCHEME.encode():
            return None
        token = tokens.verify(plain.decode("latin-1").strip(), now=timezone.now())
        if token is None:
            raise AuthenticationFailed("The token is unknown, expired or revoked; make a new one")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002  DRF's signature
        return 'Bearer realm="api"'
