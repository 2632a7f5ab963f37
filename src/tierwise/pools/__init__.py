"""Recorded draws of deployments, and policies run on them in simulated time, without a model.

sources       what a pool has draws of: a deployment with one sampling
reading       a pool from its directory, and what is odd about it
draws         one recorded draw, whole or cut, with its keys and verdicts, each found once
chains        recorded actions whose passes see each other, such as refinements
speed         the measured speed of a deployment under load
clock         simulated time, and the event loop that a policy sees
engines       deployments in simulated time
choice        the state of one action
passes        one pass, from its request to its end
asking        `spec.ask.Ask` on a pool
timeline      the panel that begins an action, shared by all settings that ask for it
memo          keys, verdicts and grades, each found once
driving       a policy's coroutine, driven by hand
replaying     a setting on all tasks
grid          the file of settings
results       points, tokens, seconds and dollars of each setting, with intervals
"""
