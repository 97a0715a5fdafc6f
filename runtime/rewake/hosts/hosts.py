"""Where a server may run, and what each place can carry.

The engine was made for a process of its own, which goes on when no request is there. Many places
give less: the process stands still once it has answered (a *pausing* host), a request has a time in
which it must end, an answer cannot be sent in parts. Each is declared here, with the default of its
platform; what a host cannot carry is refused when a server starts, not found out by a run that
never goes on.

On a pausing host work is done while a request waits for it, and everything is released before that
is answered (`rewake.hosts.pausing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rewake.app import App
from rewake.authoring.policy import seconds

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a host can do. Sizes are in bytes, times in seconds; None: there is no bound."""

    name: str
    title: str
    """What people call it."""
    goes_on: bool
    """Whether the process, its threads too, has the processor when no request is there."""
    deadline: float | None = None
    """How long a request may take, unless it is set otherwise there (`REWAKE_DEADLINE`)."""
    patience: float | None = None
    """How long a client is kept waiting by what stands before it."""
    streams: bool = True
    """Whether what is sent of an answer arrives before the answer is whole."""
    largest_request: int | None = None
    largest_response: int | None = None
    keeps_files: bool = True
    """Whether instances share a disk, and find on it what was there before."""
    has_queues: bool = False
    """Whether it brings the messages of a queue (SQS) itself, where no process could wait."""

    @property
    def lease(self) -> float:
        """How long a claim holds there, unless it is set otherwise.

        A process that dies must be noticed long before the deadline of its request, and one that
        starts slowly must not look dead.
        """
        return 5.0 if self.goes_on else 30.0


def _table(*hosts: Host) -> Mapping[str, Host]:
    return {each.name: each for each in hosts}


HOSTS = _table(
    Host(name="container", title="a container", goes_on=True),
    Host(name="asgi", title="an ASGI server", goes_on=True),
    Host(name="wsgi", title="a WSGI server", goes_on=True),
    Host(
        name="aws-lambda",
        title="AWS Lambda",
        goes_on=False,
        deadline=900,
        patience=25,  # an HTTP API gives up after 30
        streams=False,
        largest_request=6 * MIB,
        largest_response=6 * MIB,
        keeps_files=False,
        has_queues=True,
    ),
    Host(
        name="cloud-run",
        title="Cloud Run",
        goes_on=False,
        deadline=300,
        largest_request=32 * MIB,
        keeps_files=False,
    ),
    Host(
        name="cloud-functions",
        title="Cloud Functions",
        goes_on=False,
        deadline=60,
        streams=False,
        largest_request=32 * MIB,
        largest_response=32 * MIB,
        keeps_files=False,
    ),
    Host(
        name="azure-functions",
        title="Azure Functions",
        goes_on=False,
        deadline=230,  # the load balancer's, whatever `functionTimeout` says
        streams=False,
        largest_request=100 * MIB,
        keeps_files=False,
    ),
    Host(
        name="vercel",
        title="Vercel",
        goes_on=False,
        deadline=300,
        largest_request=4_500_000,
        largest_response=4_500_000,
        keeps_files=False,
    ),
)
"""By name."""


def refusals(host: Host, app: App, *, dispatcher: str, db: str) -> Iterator[str]:
    """What `host` cannot carry of an app and its settings, each with the reason."""
    if not host.goes_on and dispatcher == "in-process":
        yield (
            f"{host.title} stands still once it has answered, and the in-process dispatcher with"
            " it: set REWAKE_DISPATCHER to one that sends messages (http, sqs, lambda)"
        )
    if not host.keeps_files and db.lower().startswith("memory:"):
        yield (
            f"{host.title} has many instances, and a database in memory is one instance's own:"
            " set REWAKE_DB"
        )
    if host.deadline is None:
        return
    for name, task in sorted(app.tasks.items()):
        wanted = None if task.tag else task.policy.timeout  # one with a tag runs elsewhere
        if wanted is not None and seconds(wanted) >= host.deadline:
            yield (
                f"the task {name!r} may take {seconds(wanted):g} s, and {host.title} ends a"
                f" request after {host.deadline:g} s: give it a shorter timeout, or REWAKE_DEADLINE"
                " the time that is set there"
            )
