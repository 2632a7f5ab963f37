"""Suites whose tasks are repositories or machines in containers: Harbor or their own harness runs them against a tier's
endpoint, and `tierwise import` reads the results.
"""

from __future__ import annotations

from tierwise.workloads.suites.row import Convention, SuiteRow

SWE_BENCH_VERIFIED = SuiteRow(
    name="swe-bench-verified",
    title="SWE-bench Verified",
    tasks=500,
    size="500 issues of 12 Python repositories",
    average=Convention(how="one attempt an issue by one agent", source="swebench 5.0: resolved of all"),
    maximum=Convention(
        how="the best of several attempts by a selector that has not seen the tests",
        source="LLM-as-a-Verifier's README: best of 3, 76.1 → 78.2 (oracle 84.4)",
    ),
    runner="harbor",
    how="harbor run with a tier's URL, or swebench's run_evaluation on predictions; then tierwise import",
    licence="MIT (harness); the repositories' own licences",
    caveats=(
        (
            "flawed: at least 59.4 % of an audited 27.6 % of the issues have flawed tests, and items are contaminated "
            "(OpenAI, 2026-02, which recommends Pro)"
        ),
        "gold patches pass 500 of 500 only since 2026-08 (SWE-bench#294): compare the harness's version",
        "issues of one repository are alike: cluster by repository, or speak for these 12 only",
        "the agent is part of the mode; 42 of 61 leaderboard submissions changed test files (SWE-bench#393)",
    ),
)

SWE_BENCH_PRO = SuiteRow(
    name="swe-bench-pro",
    title="SWE-bench Pro",
    tasks=731,
    size="731 issues of 11 repositories: the public part",
    average=Convention(how="one attempt an issue by one agent", source="scaleapi/SWE-bench_Pro-os"),
    maximum=Convention(
        how="the best of several attempts by a selector that has not seen the tests", source="no convention"
    ),
    runner="own harness",
    how="SWE-bench_Pro-os's evaluation (--use_local_docker) or Harbor; then tierwise import",
    licence="MIT",
    caveats=(
        (
            "clustered: the standard error of a score by repository is 1.35 to 3.12 times the naive one "
            "(the 9 runs in SWE-bench_Pro-os@ca10a60, traj/*/eval_results.json)"
        ),
        "denominators differ: those files hold 562 to 955 instances; absent instances must count",
        "the scaffold alone moves Qwen3.6-27B from 28 % to 51 %: compare the same one only (Qwen3.8#179)",
        "1.6 % of the instances are flaky over 10 replicas (Qwen3.8#179)",
    ),
)

TERMINAL_BENCH = SuiteRow(
    name="terminal-bench-2",
    title="Terminal-Bench 2",
    tasks=89,
    size="89 terminal tasks in containers",
    average=Convention(how="mean over the trials of each task (`-k`), by one agent", source="Harbor 0.24: mean reward"),
    maximum=Convention(
        how="the best of 5 trials by a selector that has not seen the tests",
        source="LLM-as-a-Verifier's README, on 2.1: 78.7 → 88.0 (oracle 96.6)",
    ),
    runner="harbor",
    how="harbor run -d terminal-bench@2.0 -a terminus-2 with a tier's URL; then tierwise import",
    licence="Apache-2.0, with a canary: never in training data or repositories",
    caveats=(
        (
            "container headroom alone moves scores by 6 points, and infrastructure errors from 5.8 % to 0.5 % "
            "(Anthropic, 2026-02): state floor, ceiling and timeouts"
        ),
        "the agent is part of the mode: 63.5 against 66.5 with Claude Code for one checkpoint (GLM-5.1's card)",
        "2.0 and 2.1 are different tasks; parity runs spread from 0.46 to 0.77 (harbor#1851)",
    ),
)
