"""The configuration file: its schema, how it is read, checked and watched.

`schema` (what may be said) ← `yaml12` (text to nodes) ← `reader` (nodes to structs) ← `checks` ← `loader`.
"""
