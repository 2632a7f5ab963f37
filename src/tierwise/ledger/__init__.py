"""The ledger of actions and their cost. `records`, `rows` and `prices` define the data, `store` writes, `read` queries.

Nothing is imported here, so that the data types are available without a database driver.
"""
