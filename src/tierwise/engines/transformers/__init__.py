"""Transformers on a worker process of ours. Only `settings` is for other modules; the rest runs in the worker.

settings   what stands in the config file, and the launch
levers     how a checkpoint becomes a model in memory, and what of it cannot work
worker     the process: HTTP
chat       a request of HTTP ↔ a job of the loop
batching   the loop that runs the model
caches     rows side by side in one cache;  prefixes  those that are remembered
sampling   logits → tokens;  scoring  logits → what was thought of a prompt;  text  tokens ↔ characters
loading    a checkpoint → a model;  attention, experts  what is changed in it
"""
