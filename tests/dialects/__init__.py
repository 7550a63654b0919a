"""Every dialect from both sides: a client that asks and reads, and what its provider was asked.

The readers are written from the formats' documentation, not from the gateway's code: they judge the matrix.
"""

from tests.dialects.chat import Chat
from tests.dialects.cohere import Cohere
from tests.dialects.common import (
    ARGUMENTS,
    OTHER_ARGUMENTS,
    PNG,
    RESULTS,
    SCHEMA,
    TOOLS,
    Ask,
    Asked,
    Call,
    Dialect,
    Told,
)
from tests.dialects.converse import Converse
from tests.dialects.gemini import Gemini
from tests.dialects.messages import Messages
from tests.dialects.responses import Responses

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (Chat(), Responses(), Messages(), Gemini(), Converse(), Cohere())
}

__all__ = [
    "ARGUMENTS",
    "DIALECTS",
    "OTHER_ARGUMENTS",
    "PNG",
    "RESULTS",
    "SCHEMA",
    "TOOLS",
    "Ask",
    "Asked",
    "Call",
    "Dialect",
    "Told",
]
