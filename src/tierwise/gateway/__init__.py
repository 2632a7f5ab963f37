"""The endpoint: OpenAI's wire in, server-sent events out, and the only place that knows HTTP status codes."""
