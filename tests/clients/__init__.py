"""Clients that run in environments of their own: scripts, and what is to be installed for them."""
