"""OpenAI's responses: `POST /v1/responses`, and those that are stored."""

from tierwise.gateway.apis.responses.api import RESPONSES, Responses
from tierwise.gateway.apis.responses.pages import StoredPage
from tierwise.gateway.apis.responses.store import ResponseStore

__all__ = ["RESPONSES", "ResponseStore", "Responses", "StoredPage"]
