"""From a configuration to what the data plane runs on: an immutable snapshot, options, and secrets apart.

`model` (the wire) ← `compile` (configuration → wire) ← `publish` (versions, order, what is in force).
"""
