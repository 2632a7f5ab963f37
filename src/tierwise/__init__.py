"""Tierwise runs an open-weight checkpoint at the cheapest tier that is good enough for your workload, and proves it.

The walk of a request, top to bottom. A singular name is a station that every request passes, a plural one a family
with one member per file. Imports only go down this list (tests/test_walk.py reads it):

    cli             one file per verb
    setup           a first config file: for a server, or for a checkpoint on this machine
    upstream        packages of others: which versions were tested, what those here say is deprecated
    report          tables, plots, pages
    moe             a mixture of experts on a workload: routing, drift, perplexity, other numbers of experts
    bench           running a workload: schedule, client, trials, grading
    analysis        what runs mean: summaries, comparisons, gates, a leaderboard
    runs            a run on disk: its directory, its records, the runs of other tools
    workloads       tasks with their checks: their files, the suites they come from, how they arrive
    gateway         OpenAI wire in, SSE out; the one place that knows HTTP status codes
    service         a config file brought to life: engines launched, tiers built, the ledger open
    plan            the config file, checked as a whole: which processes run, and which tiers they serve
    testing         public fakes: scripted and flaky engines, an in-process endpoint
    testing_server  a fake OpenAI-compatible server, for clients and engines over HTTP
    router          model name → tier
    run             the heart: one prompt, one tier → an answer and a trace
    policies        single, majority, best_of_n, refine, cascade
    panel           many candidates at once: bounded, deadlined, losers aborted
    verifiers       equality, schema, Python tests in a sandbox
    ledger          records, prices, store, read
    mixture         where the tokens of a mixture of experts go: load, balance, drift
    engines         llama.cpp, vLLM, SGLang, Transformers, any server, recordings; and the supervisor of their processes
    catalog         where checkpoints come from, what they say of themselves, and what is known of their families
    stats           estimates, intervals and tests: pure functions over numbers
    spec            the vocabulary; imports nothing of ours
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
