"""Shows the results of a run: a table for the terminal, plots, and one page that needs no network."""
