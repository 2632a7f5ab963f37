"""Finds and certifies a route on a recorded pool: split, space, evaluation, certification, writing."""
