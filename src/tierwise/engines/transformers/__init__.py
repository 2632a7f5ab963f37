"""Transformers on a worker process of ours (`tierwise.worker`): what stays on our side."""
