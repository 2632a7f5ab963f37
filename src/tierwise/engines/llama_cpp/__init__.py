"""llama.cpp: a GGUF file served by a process of ours, or by a `llama-server` binary that the user names."""
