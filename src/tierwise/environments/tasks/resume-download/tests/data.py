import random


def CONTENT():
    return random.Random(41).randbytes(200_000)
