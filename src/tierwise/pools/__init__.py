"""Recorded draws of deployments, and policies run on them in simulated time, without a model or an event loop.

sources       what a pool has draws of: a deployment with one sampling
reading       a pool from its directory, and what is odd about it
draws         one recorded draw, whole or cut, with its keys and verdicts, each found once
speed         the measured speed of a deployment under load
clock         simulated time, and the deployments in it
asking        `spec.ask.Ask` on a pool, driven by hand
replaying     a setting on all tasks
grid          the file of settings
results       points, tokens, seconds and dollars of each setting, with intervals
"""
