"""The process that runs a model with Transformers: `python -m tierwise.worker SETTINGS`.

Its settings, and all that does not need PyTorch, stand in `tierwise.engines.transformers`.

server     HTTP
chat       a request of HTTP ↔ a job of the loop
batching   the loop that runs the model
caches     rows side by side in one cache;  prefixes  those that are remembered
sampling   logits → tokens;  scoring  logits → what was thought of a prompt;  text  tokens ↔ characters
loading    a checkpoint → a model;  attention, routers, packing  what is changed in it
rehearsal  one pass on a tiny random model, for `tierwise doctor`
"""
