"""Beside the life of an execution: measures it on a fresh installation, from outside."""
