"""The APIs of the endpoint, one per file: all are answered by the same lifecycle, policies and ledger."""

from tierwise.gateway.apis.api import Api
from tierwise.gateway.apis.chat import ChatCompletions
from tierwise.gateway.apis.completions import Completions
from tierwise.gateway.apis.embeddings import Embeddings
from tierwise.gateway.apis.messages import Messages
from tierwise.gateway.apis.responses import Responses, ResponseStore

APIS: tuple[Api, ...] = (ChatCompletions(), Completions(), Embeddings(), Messages())
"""Those that keep nothing between requests."""


def apis_of(store: ResponseStore) -> tuple[Api, ...]:
    """All APIs of one endpoint, whose responses are kept in a store."""
    return (*APIS, Responses(store))
