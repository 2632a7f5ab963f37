"""Any OpenAI-compatible server: the client that every engine here is spoken to with, and the engine `http`."""
