"""kill -9 against real servers on a real file, at every point where it could matter.

A server is started through `launcher`, which counts the calls of its store, table and dispatcher,
and dies by its own SIGKILL at the one that `REWAKE_TEST_KILL` names; the bodies of tasks and steps,
and the waits, are points too. From outside, `scenario` carries out one of two `stories`, keeps
servers up, and judges what came of it. `app` has a workflow that uses what one run can hold;
`endless` goes on as new, and has schedules, events, gathered starts, a pause and a fork beside it.

    python -m tests.kill            the points that continuous integration kills at
    python -m tests.kill --all      every call that an unkilled run makes, before and after
"""
