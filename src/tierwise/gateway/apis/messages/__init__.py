"""Anthropic's Messages API: requests become chat completions, and answers come back as content blocks."""

from tierwise.gateway.apis.messages.api import Messages

__all__ = ["Messages"]
