"""The doors through which an execution reaches the world outside: one per kind of peer."""
