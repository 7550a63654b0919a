"""Logs, metrics and the events of the data plane."""
