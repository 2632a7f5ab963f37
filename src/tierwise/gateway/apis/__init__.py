"""The APIs of the endpoint, one per file: all are answered by the same lifecycle, policies and ledger."""

from tierwise.gateway.apis.api import Api
from tierwise.gateway.apis.chat import ChatCompletions
from tierwise.gateway.apis.completions import Completions
from tierwise.gateway.apis.messages import Messages

APIS: tuple[Api, ...] = (ChatCompletions(), Completions(), Messages())
"""All of them."""
