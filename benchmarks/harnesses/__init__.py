"""The harnesses whose logs `tierwise import` reads: each is installed at a pinned version and run against a tier."""
