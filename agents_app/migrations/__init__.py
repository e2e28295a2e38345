"""The tables of agents_app, step by step."""
