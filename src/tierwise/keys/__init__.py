"""Who may use the endpoint, and how much: keys and teams, their limits, and budgets that cannot be overspent."""
