"""Expert load in mixtures of experts: load, balance, drift. Plain Python without numpy, because the endpoint uses
it.
"""
