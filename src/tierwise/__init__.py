"""Tierwise runs an open-weight checkpoint at the cheapest tier that is good enough for your workload, and proves it.

The packages, top to bottom. A package imports only from those below it (tests/test_walk.py checks it). A package with a
singular name is a step of every request; one with a plural name has a file for each of its members.

    cli             one file per verb
    library         the functions for programs, exported by `tierwise` itself
    setup           `tierwise init`: a first config file for a server or a checkpoint on this machine
    upstream        third-party packages: tested versions, and deprecation warnings of the installed ones
    report          tables, plots, pages
    moe             a mixture of experts on a workload: routing, drift, perplexity, other numbers of active experts
    bench           running a workload: schedule, client, trials, grading
    tuning          the cheapest route that keeps a promise: split, space, evaluation on a pool, certification
    pools           recorded draws of deployments: policies run on them in simulated time, and what they would reach
    analysis        summaries, comparisons, gates and a leaderboard of runs
    runs            a run on disk: its directory, its records, imported runs of other tools
    mining          tasks from a repository: its commits and its functions, validated by its own tests
    workloads       tasks with their checks: files, public suites, arrival
    runners         agents that work on tasks: any program, and known harnesses
    environments    where an agent works: a sandbox that lives as long as its task, tasks in Harbor's format
    workers         several processes that serve one port, under one supervisor
    gateway         the OpenAI and gRPC endpoints; the only place that knows HTTP status codes
    service         a running config file: engines launched, tiers built, the ledger open
    shadowing       whether a certified route keeps its promise: a share of its actions is asked again
    certificate     what was proved about a route: the file, and the conditions under which it holds
    plan            the config file, checked as a whole: which processes run, and which tiers they serve
    testing         public fakes and contract suites: scripted and flaky engines, a fake OpenAI-compatible server
    router          model name → tier; which certified routes are answered by their safe tier
    run             one prompt on one tier → an answer and a trace
    policies        single, majority, best_of_n, refine, cascade
    stopping        rules that end a vote early: pure functions over counts and confidences
    panel           several passes concurrently, within a deadline; those that are not needed are aborted
    verifiers       numbers, choices, texts, JSON, and code in a sandbox
    keys            who may use the endpoint: keys and teams, their limits, budgets that cannot be overspent
    ledger          records, prices, store, read
    mixture         expert routing of tokens: load, balance, drift
    worker          the process that runs a model with Transformers; engines start it and never import it
    engines         llama.cpp, vLLM, SGLang, Transformers, any server, recordings; and the supervisor of their processes
    catalog         checkpoints: sources, facts in their files, and known model families
    stats           estimates, intervals and tests: pure functions over numbers
    spec            shared vocabulary; imports no other package
"""

from __future__ import annotations

import atexit
import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tierwise.engines.engine import Engine as Engine
    from tierwise.engines.engine import Health as Health
    from tierwise.engines.row import EngineRow as EngineRow
    from tierwise.engines.settings import BaseSettings as BaseSettings
    from tierwise.engines.settings import LaunchContext as LaunchContext
    from tierwise.library import Result as Result
    from tierwise.library import Running as Running
    from tierwise.library import compare as compare
    from tierwise.library import load as load
    from tierwise.library import open_ledger as open_ledger
    from tierwise.library import read_run as read_run
    from tierwise.library import start as start
    from tierwise.policies.policy import Policy as Policy
    from tierwise.spec.ask import Answer as Answer
    from tierwise.spec.ask import Ask as Ask
    from tierwise.spec.ask import OutOfBudget as OutOfBudget
    from tierwise.spec.ask import Verdict as Verdict
    from tierwise.spec.budget import Budget as Budget
    from tierwise.spec.call import Call as Call
    from tierwise.spec.call import Chunk as Chunk
    from tierwise.spec.call import Completion as Completion
    from tierwise.spec.call import Pass as Pass
    from tierwise.spec.call import Usage as Usage
    from tierwise.spec.errors import EngineError as EngineError
    from tierwise.spec.errors import SpecError as SpecError
    from tierwise.spec.errors import TierwiseError as TierwiseError
    from tierwise.spec.prompt import Prompt as Prompt
    from tierwise.spec.version import __version__ as __version__
    from tierwise.verifiers.base import BaseVerifier as BaseVerifier
    from tierwise.verifiers.verifier import Verifier as Verifier

# The last collection of a process may free twice what msgspec 0.22 knows of types that refer to each other, and the
# process then ends with SIGSEGV (like github.com/msgspec/msgspec/issues/717). What is frozen is not collected.
atexit.register(gc.freeze)

__all__ = [
    "Answer",
    "Ask",
    "BaseSettings",
    "BaseVerifier",
    "Budget",
    "Call",
    "Chunk",
    "Completion",
    "Engine",
    "EngineError",
    "EngineRow",
    "Health",
    "LaunchContext",
    "OutOfBudget",
    "Pass",
    "Policy",
    "Prompt",
    "Result",
    "Running",
    "SpecError",
    "TierwiseError",
    "Usage",
    "Verdict",
    "Verifier",
    "__version__",
    "compare",
    "load",
    "open_ledger",
    "read_run",
    "start",
]

_PLACES = {
    "tierwise.engines.engine": ("Engine", "Health"),
    "tierwise.engines.row": ("EngineRow",),
    "tierwise.engines.settings": ("BaseSettings", "LaunchContext"),
    "tierwise.library": ("Result", "Running", "compare", "load", "open_ledger", "read_run", "start"),
    "tierwise.policies.policy": ("Policy",),
    "tierwise.spec.ask": ("Answer", "Ask", "OutOfBudget", "Verdict"),
    "tierwise.spec.budget": ("Budget",),
    "tierwise.spec.call": ("Call", "Chunk", "Completion", "Pass", "Usage"),
    "tierwise.spec.errors": ("EngineError", "SpecError", "TierwiseError"),
    "tierwise.spec.prompt": ("Prompt",),
    "tierwise.spec.version": ("__version__",),
    "tierwise.verifiers.base": ("BaseVerifier",),
    "tierwise.verifiers.verifier": ("Verifier",),
}
"""Where each public name is. Modules are imported when a name is first used, so that every command starts quickly."""


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            found = getattr(import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'tierwise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
