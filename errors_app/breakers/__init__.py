"""Endpoints that fail are left alone for a while: breakers, shared by all that run executions."""
