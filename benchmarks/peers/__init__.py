"""Beside the product: other schedulers and queues, measured in the same run on the same services.

Each `*_peer` module is run by the Python of the peers' own environment and imports nothing of the
product; it starts the peer's real workers or beat and prints one JSON document.
"""
