"""What vLLM and SGLang have in common: servers that are launched in an interpreter of their own, or found at a URL."""
