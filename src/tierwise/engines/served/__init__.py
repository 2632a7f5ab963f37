"""Shared by vLLM and SGLang: servers that are launched in their own Python environment, or already running at a URL."""
