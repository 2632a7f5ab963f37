"""Which of an engine's last lines says what it died of."""

from tierwise.engines.process.log_tail import recent_error, root_cause

WORKER = "(Worker pid=14371) ERROR 11-22 14:17:21 [multiproc_executor.py:953]"
CORE = "(EngineCore pid=13900) ERROR 11-22 14:17:28 [core.py:1510]"
FRONT = "(APIServer pid=13197) ERROR 11-22 14:17:30 [async_llm.py:906]"
REASON = "NotImplementedError: Sparse Attention is not supported on CPU."
RAISED = (
    f"{WORKER} Traceback (most recent call last):",
    f'{WORKER}     raise NotImplementedError("Sparse Attention is not supported on CPU.")',
    f"{WORKER} {REASON}",
)


def test_of_the_tracebacks_of_several_processes_the_one_that_is_no_echo_counts():
    """The end of vLLM 0.32's words on a checkpoint that its CPU build cannot serve."""
    words = (
        f"{WORKER} WorkerProc failed to start.",
        *RAISED,
        f"{CORE} EngineCore failed to start.",
        f"{CORE}     raise e from None",
        "Exception: WorkerProc initialization failed due to an exception. See stack trace for root cause.",
        "    raise RuntimeError(",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    )
    assert root_cause(words) == REASON


def test_what_ended_an_inner_process_is_found_below_what_its_front_says_of_it():
    words = (
        *RAISED,
        f"{FRONT} AsyncLLM output_handler failed.",
        f"{FRONT} EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "UserWarning: resource_tracker: There appear to be 1 leaked shared_memory objects",
    )
    assert recent_error(words) == REASON
