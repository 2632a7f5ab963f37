"""The process that runs a model with Transformers: `python -m tierwise.worker SETTINGS`.

Its settings and all code that does not need PyTorch are in `tierwise.engines.transformers`.

server     HTTP
chat       HTTP requests → jobs, and job updates → responses
batching   the loop that runs the model
caches     KV caches of batches;  prefixes  the prefix cache
sampling   logits → tokens;  scoring  logits → prompt log-probabilities;  text  tokens ↔ characters
loading    a checkpoint → a model;  attention, routers, packing  modifications of the model
smoke_test one pass on a tiny random model, for `tierwise doctor`
"""
