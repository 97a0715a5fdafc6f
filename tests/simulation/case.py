"""What one simulation is: drawn from a seed, or written down by a scenario."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from rewake.engine.settings import Settings
from rewake.tags import Served
from tests.simulation.answering import with_response
from tests.simulation.beating import with_beats
from tests.simulation.caching import with_cache
from tests.simulation.calling import unbeaten, with_calls
from tests.simulation.circling import NO_RING, Ring, ring_of
from tests.simulation.crowding import Start, aimed_at_starts, crowd_of
from tests.simulation.emitting import with_items
from tests.simulation.fanning import with_fan
from tests.simulation.faults import TRANSACTIONS, Chaos, aimed, calm, chaos_of
from tests.simulation.generate import Err, Generator, settled
from tests.simulation.grouping import with_groups
from tests.simulation.hearing import with_events
from tests.simulation.kindred import with_children
from tests.simulation.lapping import endless
from tests.simulation.limiting import with_limits
from tests.simulation.pausing import with_pauses
from tests.simulation.removing import KEEP
from tests.simulation.repeating import with_copies
from tests.simulation.showing import with_shows
from tests.simulation.signalling import with_signals
from tests.simulation.stating import OF_TASKS, with_holders, with_states
from tests.simulation.tagging import ROLES, UNTAGGED, with_tags
from tests.simulation.telling import with_notices
from tests.simulation.voting import with_votes


@dataclass
class Case:
    """Programs with their right ends, by run; on what they run; and what goes wrong.

    `cancels`: when runs are cancelled, by somebody who mostly `insists`, and who asks again so
    often (`repeats`). `kills`: when runs are killed. `pauses`: after how long they are paused, and
    resumed, one pause after the other; `delays`: in how many seconds they are to begin. `copies`:
    after how long they are begun once more, and how.
    `events`: what happens to processes, and when; with `holder`, to one that holds something.
    `twice`: every run is started twice. `stuck`: the runs that must end stuck; `resumes`: somebody
    resumes stuck runs; `retries`: failed ones are retried. `follows`: somebody follows each run.
    `lag`: how far the due index is behind (ms). `queued`: a queue keeps messages until they are
    done, and takes them long before their time. `roles`: what the processes serve, one after the
    other; `joins`: when others come, and what they serve. `replaces`: whether one that dies is
    replaced. `keep`: for how many seconds ended runs are kept; None: for ever. `keyed`: people
    start by a key instead, and there are no `programs`. `crowd`: starts of other workflows.
    `ring`: runs that wait for one another. `writes`: how often people write a state.
    """

    seed: int
    store: str
    programs: dict[str, tuple[list[Any], Any]]
    chaos: Chaos
    settings: Settings
    local: bool = False
    replicas: int = 2
    jumpy: bool = False
    cancels: dict[str, float] = field(default_factory=dict)
    repeats: int = 0
    kills: dict[str, float] = field(default_factory=dict)
    pauses: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    copies: dict[str, tuple[float, str]] = field(default_factory=dict)
    events: list[tuple[float, str]] = field(default_factory=list)
    workflow: str = "main"
    twice: bool = False
    insists: bool = True
    stuck: frozenset[str] = frozenset()
    resumes: bool = False
    retries: bool = False
    follows: bool = False
    lag: int = 0
    queued: bool = False
    roles: tuple[Served, ...] = (UNTAGGED,)
    joins: list[tuple[float, Served]] = field(default_factory=list)
    replaces: bool = True
    keep: float | None = None
    keyed: bool = False
    crowd: tuple[Start, ...] = ()
    ring: Ring = NO_RING
    writes: dict[str, int] = field(default_factory=dict)


def case_of(seed: int, store: str, *, faults: bool = True) -> Case:
    """The simulation of this seed."""
    chance = random.Random(f"case/{seed}")
    generator = Generator(random.Random(f"program/{seed}"))
    names = ["r1"] if chance.random() < 0.8 else ["r1", "r2"]
    big = chance.random() < 0.2
    bounded = chance.random() < 0.04
    drawn = {name: generator.endless() if bounded else generator.program(big=big) for name in names}
    settings = Settings(
        cached=chance.choice((0, 0, 1, 256)),
        horizon=chance.choice((0, 500, 2500)),
        # A task that never ends keeps its slot until it is cancelled.
        tasks=100 if "'hangs': -1" in str(drawn) else chance.choice((2, 100)),
        # What limits deaths has scenarios of its own.
        strikes=1000,
        lost=1000,
    )
    case = Case(
        seed,
        store,
        {name: (node, settled(value)) for name, (node, value) in drawn.items()},
        chaos_of(chance, transactions=store in TRANSACTIONS, big=big) if faults else calm(seed),
        settings,
        local=chance.random() < 0.4,
        replicas=chance.choice((1, 2, 3)),
    )
    if not bounded and chance_of("laps", seed) < 0.06:
        case.programs["r1"] = endless(random.Random(f"laps/{seed}"))
    case.workflow = "bounded" if bounded else "main"
    if not bounded and case.programs["r1"][0][0] != "laps":
        _add(case, seed)
        _let_write(case, random.Random(f"writers/{seed}"))
        _tag(case, seed)
        _let_in_turn(case, seed)
    case.twice = chance.random() < 0.2
    case.lag = chance.choice((0, 0, 300))
    if faults:
        case.jumpy = chance.random() < 0.15
        if case.jumpy:
            case.programs = {
                name: (napping(p), right) for name, (p, right) in case.programs.items()
            }
        if chance.random() < 0.15:
            case.cancels = {name: chance.uniform(0, 8) for name in names}
        kinds = ["crash", "crash", "stall", "pause", "pause", "heart", "close", "skew"] + [
            "jump"
        ] * (3 * case.jumpy)
        for _ in range(chance.choice((0, 0, 1, 2, 4)) + case.jumpy):
            case.events.append((chance.uniform(0, 15), chance.choice(kinds)))
        if chance.random() < 0.15:
            case.events.append((chance.uniform(0, 15), "blocked"))
        further(case, random.Random(f"further/{seed}"))
        with_pauses(case)
        if chance_of("removed", seed) < 0.1 and not case.jumpy and not _is_out(case):
            case.keep = KEEP
        _let_hear(case, random.Random(f"hearing/{seed}"))
        with_copies(case)
        aimed(case.chaos, random.Random(f"aimed/{seed}"), str(case.programs))
        if case.jumpy or any(what in ("outage", "refused") for _, what in case.events):
            case.programs = {name: (unbeaten(p), r) for name, (p, r) in case.programs.items()}
    case.crowd = () if case.jumpy else crowd_of(seed)  # it gathers by clocks that agree
    case.ring = NO_RING if case.jumpy or case.keep is not None else ring_of(seed)
    aimed_at_starts(case.chaos, random.Random(f"aimed-crowd/{seed}"), case.crowd)
    return case


def chance_of(what: str, seed: int) -> float:
    """A draw of its own, which moves no other."""
    return random.Random(f"{what}/{seed}").random()


def _let_hear(case: Case, chance: random.Random) -> None:
    """Events: clocks that are hours apart would put them before the runs that wait for them."""
    hears = chance.random() < 0.12 and not case.jumpy
    if hears and case.programs["r1"][0][0] != "laps":
        drawn = case.programs.items()
        case.programs = {run: with_events(run, whole, chance) for run, whole in drawn}


def _is_out(case: Case) -> bool:
    """Whether the store is out for long, so that runs end late."""
    return any(what in ("outage", "refused") for _, what in case.events)


ADDED = (
    ("calls", 0.12, with_calls),
    ("fans", 0.1, with_fan),
    ("notified", 0.08, with_notices),
    ("responses", 0.1, with_response),
    ("votes", 0.08, with_votes),
    ("children", 0.12, with_children),
    ("signals", 0.1, with_signals),
    ("groups", 0.12, with_groups),
    ("limits", 0.1, with_limits),
    ("states", 0.12, with_states),
    ("holders", 0.1, with_holders),
    ("shows", 0.1, with_shows),
    ("cache", 0.1, with_cache),
    ("beats", 0.06, with_beats),
)


def _add(case: Case, seed: int) -> None:
    """Machines that call, people who are told or vote, runs that answer their callers: drawn apart,
    so that most older seeds stay what they were.
    """
    for name, share, added in ADDED:
        chance = random.Random(f"{name}/{seed}")
        if chance.random() < share:
            case.programs = {run: added(whole, chance) for run, whole in case.programs.items()}


def _let_write(case: Case, chance: random.Random) -> None:
    """States of tasks, which people write as well. Who waits for one has a slot meanwhile."""
    if "'holds'" in str(case.programs):
        case.settings = replace(case.settings, tasks=100)
        case.writes = {key: chance.randint(0, 4) for key in OF_TASKS}


def _tag(case: Case, seed: int) -> None:
    """Tasks with tags, and processes that serve some: drawn apart too."""
    chance = random.Random(f"tags/{seed}")
    if chance.random() < 0.1:
        case.roles = chance.choice(ROLES)
        case.programs = {run: with_tags(whole, chance) for run, whole in case.programs.items()}


def _let_in_turn(case: Case, seed: int) -> None:
    """Runs of which one goes on at a time, the others waiting for it to end."""
    if chance_of("turns", seed) < 0.05:
        case.workflow = "in_turn"
        short = {f"r{n}": (["task", "work", f"q{n}", {}], [f"q{n}", None]) for n in (3, 4)}
        case.programs |= short


def further(case: Case, chance: random.Random) -> None:
    """Faults that came later: drawn apart, so that most older seeds stay what they were."""
    if chance.random() < 0.08:
        case.events += [(chance.uniform(0, 15), "loop") for _ in range(chance.randint(1, 3))]
    if chance.random() < 0.04:
        case.events.append((chance.uniform(0, 8), chance.choice(("outage", "refused"))))
    if chance.random() < 0.04:
        case.events += [(chance.uniform(0, 15), "released") for _ in range(chance.randint(1, 3))]
    if case.cancels and chance.random() < 0.5:
        case.repeats = chance.randint(1, 3)
    if chance.random() < 0.06:
        case.kills = {name: chance.uniform(0, 8) for name in case.programs}
    if chance.random() < 0.1 and case.programs["r1"][0][0] != "laps":
        case.programs["r1"] = linked(*case.programs["r1"])
    if chance.random() < 0.15 and case.programs["r1"][0][0] != "laps":
        emitting(case)


def emitting(case: Case) -> None:
    """Let the programs emit, and let somebody follow."""
    chance = random.Random(f"emits/{case.seed}")
    case.follows = True
    for name, whole in case.programs.items():
        case.programs[name] = with_items(whole, chance)


def linked(node: list[Any], right: Any) -> tuple[list[Any], Any]:
    """The program under an approval that is open meanwhile, and its link handed on."""
    asks = ["approve_meanwhile", "yes-ask", node, "told"]
    return asks, right if isinstance(right, Err) else [right, ["approval", "approved", "ask"], True]


def napping(program: Any) -> Any:
    """The program with its sleeps as naps, which do not look at the clock."""
    match program:
        case ["sleep", int() as ms]:
            return ["nap", ms]
        case list():
            return [napping(part) for part in program]
        case dict():
            return {name: napping(part) for name, part in program.items()}
        case _:
            return program
