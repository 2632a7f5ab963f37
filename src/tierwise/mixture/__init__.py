"""Where the tokens of a mixture of experts go: load, balance, drift. Plain Python, for the endpoint counts with it."""
