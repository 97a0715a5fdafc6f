"""Requirements that a test of another folder shows, and those that do not apply, and why."""

from __future__ import annotations

_SERDES = "values keep their types by themselves; how they are stored is up to the codec of the app"
_FLAT = "branches have no entry of their own in any case"
_SAME = "`parallel` is one function for both"

ELSEWHERE = {
    "1-7": (
        "What a step logs is kept with it.",
        "tests/engine/test_logs.py::test_what_attempts_log_and_print_is_kept_with_them",
    ),
    "1-17": (
        "A step that runs at most once is not begun again after a death.",
        "tests/engine/test_steps.py::test_a_step_that_runs_at_most_once_is_not_begun_again",
    ),
    "1-18": (
        "With tries left, a try that was lost is followed by another after its delay.",
        "tests/engine/test_steps.py::"
        "test_a_try_that_was_lost_is_followed_by_another_after_its_delay",
    ),
    "3-12": (
        "A step in a group whose process dies is carried out again, and the group goes on.",
        "tests/kill/test_sweep.py::test_bodies",
    ),
    "5-8": (
        "A run that another begins is of the same tenant.",
        "tests/engine/test_limited_runs.py::test_children_wait_for_the_limit_of_their_workflow",
    ),
    "10-1": (
        "Code around invocations sees each of them begin and end.",
        "tests/engine/test_middleware.py::test_it_is_around_each_invocation_and_each_attempt",
    ),
    "10-2": (
        "It is around each operation that runs code.",
        "tests/engine/test_middleware.py::test_it_is_around_each_invocation_and_each_attempt",
    ),
    "10-3": (
        "It is around each attempt, with its number and what came of it.",
        "tests/engine/test_middleware.py::test_it_is_around_each_invocation_and_each_attempt",
    ),
    "10-4": (
        "What it raises changes nothing of the run.",
        "tests/engine/test_middleware.py::test_what_is_broken_breaks_nothing",
    ),
    "10-5": (
        "Of several, all are called.",
        "tests/engine/test_middleware.py::test_it_is_around_each_invocation_and_each_attempt",
    ),
    "10-6": (
        "It can tell the first invocation of a run from those that follow.",
        "tests/engine/test_middleware.py::test_it_is_around_each_invocation_and_each_attempt",
    ),
    "10-7": (
        "That a run has failed is told, by a hook.",
        "tests/engine/test_hooks.py::test_a_run_that_fails_is_told_once",
    ),
}

DOES_NOT_APPLY = {
    "1-6": _SERDES,
    "3-14": _SERDES,
    "5-15": _SERDES,
    "5-16": _SERDES,
    "6-11": _SERDES,
    "8-12": _FLAT,
    "8-15": _SERDES,
    "9-2": f"{_SAME}: 8-2",
    "9-4": f"{_SAME}: 8-5",
    "9-5": f"{_SAME}: 8-6",
    "9-6": f"{_SAME}: 8-7",
    "9-7": f"{_SAME}: 8-8",
    "9-8": f"{_SAME}: 8-9",
    "9-9": f"{_SAME}: 8-10",
    "9-10": f"{_SAME}: 8-13",
    "9-11": f"{_SAME}: 8-11",
    "9-12": _FLAT,
    "9-14": _SERDES,
    "9-19": _SERDES,
    "9-20": _SERDES,
}
