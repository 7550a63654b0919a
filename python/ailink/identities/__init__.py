"""Identities at clouds: a source makes short-lived tokens of one, the refresher keeps them fresh in the data
plane.

The clouds' libraries are extras (`pip install 'ailink[aws]'`), loaded only when a configuration needs them.
"""

from ailink.identities.refresher import Refresher
from ailink.identities.token import IdentityError, Token

__all__ = ["IdentityError", "Refresher", "Token"]
