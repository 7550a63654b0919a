"""Guardrails: presets of patterns as reviewed data. The matching is the data plane's."""

from ailink.guard.presets import Pattern as Pattern
from ailink.guard.presets import Preset as Preset
from ailink.guard.presets import PresetError as PresetError
from ailink.guard.presets import load as load
