"""Approvals: what a person has to allow before it happens; who may, what was said, what came of it."""
