"""`tierwise serve --workers N`: several processes that serve one port, under one supervisor with one set of engines."""
