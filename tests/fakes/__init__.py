"""Peers of the product that tests speak to over real HTTP; no process of the product uses them."""
