"""What happened, and what it cost: records and prices are the words, the store writes, read answers questions.

Nothing is imported here, so that the words can be had without a database.
"""
