"""The endpoint: OpenAI's API with server-sent events. The only package that knows HTTP status codes."""
