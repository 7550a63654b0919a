"""What all sections of `ailink.yaml` have in common."""

from typing import ClassVar

import msgspec


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of the file: an unknown key in it is an error.

    `reserved`: keys that have a meaning in the product's design and are refused until something reads them.
    """

    reserved: ClassVar[frozenset[str]] = frozenset()
