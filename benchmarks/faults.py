"""Runs upstream faults, each streamed and plain, against the real gateway, and counts how they end.

    python benchmarks/faults.py [--only WORDS] [--verbose]

Each fault is a scripted response (`scripted_upstream.py`) and what must come of it: a complete answer, or an error of
the right kind. `tierwise serve` runs as a process with a deployment for each fault. Prints each fault that ended
wrongly, and one line of totals. Exits with 1 if a fault ended wrongly. Silent truncations, `[DONE]` after an error, and
acknowledged actions that are not in the ledger are wrong too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_cases import CASES
from scripted_upstream import TOOLS, Gateway, Outcome, served

GIVEN = Path(__file__).parents[1] / "tests" / "cases" / "upstream.jsonl"
AT_ONCE = 8
"""Actions that run side by side."""

SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "city", "schema": {"type": "object", "required": ["city"], "properties": {"city": {}}}},
}


@dataclass
class Ending:
    """How one fault ended."""

    outcome: Outcome
    problems: list[str] = field(default_factory=list)

    @property
    def action(self) -> str:
        return self.outcome.headers.get("x-tierwise-action", "")


def run(gateway: Gateway, number: int, case: dict[str, Any], *, stream: bool) -> Ending:
    """Send one request to the deployment of a case, and compare the answer with what the case expects."""
    expect = dict(case["expect"])
    model = str(number)
    if expect.pop("policy", "") == "best_of_n":
        model = f"max-{number}"
    elif expect.pop("route", "") == "auto":
        model = f"auto-{number}"
    fields: dict[str, Any] = dict(expect.pop("ask", {}))
    if expect.get("tool_calls"):
        fields["tools"] = TOOLS
    if "json_schema" in case["case"]:
        fields["response_format"] = SCHEMA
    requests = gateway.upstream.requests[number]
    before = len(requests)
    outcome = gateway.ask(model, stream=stream, **fields)
    ending = Ending(outcome, [*_ill_formed(outcome)])
    for key, value in expect.items():
        found = _check(gateway, number, outcome, key, value, requests[before:])
        if found is not None:
            ending.problems.append(f"{key}: expected {value!r}, found {found!r}")
    if "remembered" in str(expect.get("note")):
        before = len(requests)
        gateway.ask(model, stream=stream, **fields)
        if any("logprobs" in one for one in requests[before:]):
            ending.problems.append("the refused field was sent again")
    return ending


def problems(gateway: Gateway, number: int, case: dict[str, Any], *, stream: bool) -> list[str]:
    """What is wrong with the end of a case."""
    return run(gateway, number, case, stream=stream).problems


def _ill_formed(outcome: Outcome) -> list[str]:
    found = list(outcome.malformed)
    if outcome.error is not None and outcome.is_done:
        found.append("[DONE] after an error")
    if outcome.error is None and not outcome.is_answer:
        found.append("neither an answer nor an error")
    if outcome.is_answer and outcome.finish_chunks != 1:
        found.append(f"{outcome.finish_chunks} finish chunks")
    if outcome.message.get("tool_calls") and outcome.finish not in ("tool_calls", "length"):
        found.append(f"tools are called, and the finish reason is {outcome.finish}")
    return found


def _check(gateway: Gateway, number: int, outcome: Outcome, key: str, value: Any, requests: list[Any]) -> Any:
    """What was found instead of an expected value; None if it is as expected."""
    message, code = outcome.message, (outcome.error or {}).get("code")
    match key:
        case "content":
            found: Any = message.get("content") if outcome.is_answer else outcome.error
        case "reasoning":
            found = message.get("reasoning_content")
        case "finish_reason":
            found = outcome.finish
        case "finish_chunks":
            found = outcome.finish_chunks
        case "tool_calls":
            calls = [call["function"] for call in message.get("tool_calls") or []]
            found = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
        case "function_call":
            found = message.get("function_call")
        case "reasoning_details":
            found = len(message.get("reasoning_details") or [])
        case "exact":
            found = outcome.usage["tierwise"]["exact"]
        case "prompt_tokens" | "completion_tokens":
            found = outcome.usage[key]
        case "completion_tokens_at_least":
            found = min(value, outcome.usage["completion_tokens"])
        case "fails":
            found = outcome.error is not None
        case "retried":
            found = len(requests) == 2
        case "passes":
            found = len(requests)
        case "status":
            found = outcome.status
        case "code":
            found = code if isinstance(value, str) or code not in value else value
        case "says":
            found = value if value in (outcome.error or {}).get("message", "") else outcome.error
        case "answered_within_seconds":
            found = max(value, outcome.seconds)
        case "retry_after":
            wait = outcome.headers.get("retry-after", "")
            found = value if (wait.isdecimal() and int(wait) <= 86_400) == (value != "dropped") else wait
        case "should_retry":
            found = outcome.headers.get("x-should-retry") != "false"
        case "ready_afterwards":
            found = gateway.state(number)["state"] == "ready"
        case "in_ledger":
            found = _is_recorded(gateway, outcome)
        case "never_shown":
            found = _shown_anywhere(gateway, number, outcome, value)
            return found or None
        case "note":
            found = value if "the answer says" not in value or outcome.usage["tierwise"]["notes"] else "no note"
        case _:
            raise ValueError(f"no check is known for {key!r}")
    return None if found == value else found


def _is_recorded(gateway: Gateway, outcome: Outcome) -> bool:
    """Whether the action is in the ledger, or comes into it soon: a thread moves it there."""
    until = time.monotonic() + 10
    while outcome.headers["x-tierwise-action"] not in gateway.recorded():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _shown_anywhere(gateway: Gateway, number: int, outcome: Outcome, secret: str) -> list[str]:
    """Where a secret can be read."""
    places = {
        "the answer": outcome.raw,
        "its headers": str(outcome.headers),
        "/ready": json.dumps(gateway.state(number)),
        "the log": gateway.log.read_text(),
    }
    _is_recorded(gateway, outcome)
    for file in gateway.ledger.parent.glob(f"{gateway.ledger.name}*"):
        if file.is_file():
            # By another process: closing the file here would release the locks of the readers in this one.
            # Without `check`: a journal may be gone by now.
            read = subprocess.run(["cat", str(file)], capture_output=True, check=False)
            places[file.name] = read.stdout.decode("latin-1")
    return [place for place, text in places.items() if secret in text]


def measure(cases: list[dict[str, Any]], folder: Path) -> list[tuple[dict[str, Any], bool, Ending]]:
    """Run every case, streamed and plain; a last check is that every acknowledged action is in the ledger."""
    with served([case["upstream"] for case in cases], folder) as gateway:

        def one(job: tuple[int, bool]) -> tuple[dict[str, Any], bool, Ending]:
            number, stream = job
            return cases[number], stream, run(gateway, number, cases[number], stream=stream)

        jobs = [(number, stream) for stream in (False, True) for number in range(len(cases))]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            endings = list(pool.map(one, jobs))
    time.sleep(0.5)
    recorded = gateway.recorded()
    for _, _, ending in endings:
        if ending.action not in recorded:
            ending.problems.append("the action is not in the ledger")
    return endings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only faults with these words in their kind or name")
    parser.add_argument("--verbose", action="store_true", help="print how each fault ended")
    options = parser.parse_args()
    cases = [*(json.loads(line) for line in GIVEN.read_text().splitlines()), *CASES]
    cases = [case for case in cases if options.only in f"{case['kind']}: {case['case']}"]
    with tempfile.TemporaryDirectory() as folder:
        endings = measure(cases, Path(folder))
    counts: Counter[str] = Counter()
    for case, stream, ending in endings:
        outcome = ending.outcome
        counts["complete"] += outcome.is_answer and not ending.problems
        counts["errors"] += outcome.error is not None and not ending.problems
        counts["truncated"] += outcome.is_answer and any(p.startswith(("content", "fails")) for p in ending.problems)
        counts["done"] += outcome.error is not None and outcome.is_done
        counts["recorded"] += "the action is not in the ledger" not in ending.problems
        counts["wrong"] += bool(ending.problems)
        if ending.problems or options.verbose:
            how = "stream" if stream else "plain"
            said = ending.outcome.error or ending.outcome.message
            what = "; ".join(ending.problems) or "right"
            print(f"{case['kind']}: {case['case']} ({how}): {what} · {str(said)[:200]}")
    parts = [
        f"{counts['complete']} answers complete",
        f"{counts['errors']} errors right",
        f"{counts['wrong']} wrong",
        f"{counts['truncated']} silent truncations",
        f"{counts['done']} [DONE] after an error",
        f"{counts['recorded']} of {len(endings)} actions in the ledger",
    ]
    print(f"{len(cases)} faults × stream and plain: {', '.join(parts)}")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
