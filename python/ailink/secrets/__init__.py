"""Secrets at rest: the key-encryption key, and envelopes sealed under it."""
