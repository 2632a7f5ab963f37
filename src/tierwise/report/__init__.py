"""Shows what a run found: a table for the terminal, plots, and one page that needs no network."""
