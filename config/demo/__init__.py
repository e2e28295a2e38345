"""Beside the life of an execution: the demo, and the proof that its tables tell the truth.

`endpoints` is a small HTTP server with its own `ledger` of calls; `schedules` aims at it. `proof`
runs the whole system, `oracle` and `judge` look at it from outside and import nothing of it.
"""
