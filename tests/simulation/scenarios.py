"""Situations that random programs and faults would seldom reach, each drawn from a seed as well."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from rewake.engine.settings import Settings
from tests.simulation.case import Case, case_of, emitting, linked
from tests.simulation.faults import (
    BEFORE,
    CRASH_AFTER,
    CRASH_BEFORE,
    STALL,
    TOLD_FAILED,
    TRANSACTIONS,
    Chaos,
    calm,
    chaos_of,
)
from tests.simulation.generate import Generator
from tests.simulation.scenarios_counted import (
    counted,
    counted_and_retried,
    counted_late,
    counted_slowly,
)
from tests.simulation.scenarios_grouped import grouped
from tests.simulation.scenarios_limited import LIMITED_SCENARIOS
from tests.simulation.scenarios_outside import OUTSIDE_SCENARIOS, queued, told
from tests.simulation.scenarios_removing import keyed, removed, retried_and_removed
from tests.simulation.scenarios_tagged import TAGGED_SCENARIOS
from tests.simulation.telling import with_notices
from tests.simulation.voting import ballot

Scenario = Callable[[int, str], Case]
FOR_EVER = 99


def _killing(program: list[Any], right: Any, **more: Any) -> Scenario:
    """A program that kills its processes, with nothing else going wrong."""

    def case(seed: int, store: str) -> Case:
        chance = random.Random(seed)
        return Case(
            seed,
            store,
            {"r1": (program, right)},
            calm(seed),
            Settings(cached=chance.choice((0, 256))),
            local=chance.random() < 0.5,
            replicas=chance.choice((1, 2)),
            **more,
        )

    return case


def _closing(seed: int, store: str) -> Case:
    """Processes are replaced in an orderly way all the time, while every call takes its time."""
    generator = Generator(random.Random(seed))
    racing = ["race", ["task", "work", "n0", {}], *(generator.never() for _ in range(3))]
    program = ["seq", ["gather", False, ["sleep", 300], ["task", "work", "n1", {}]], racing]
    right = [[True, ["n1", None]], ["n0", None]]
    case = Case(seed, store, {"r1": (program, right)}, calm(seed), _patient(), replicas=3)
    case.chaos.slow = 1.0
    chance = random.Random(seed)
    case.events = [(chance.uniform(0.5, 5.0), "close") for _ in range(4)]
    return case


def _stalling(seed: int, store: str) -> Case:
    """Holders stand still until they are overtaken, and then go on as if nothing had been."""
    chance = random.Random(seed)
    parts = Generator(chance).observing(6)
    chaos = Chaos(random.Random(seed), stalls=9.0, until=200.0, slow=0.2)
    call = "update H" if store not in TRANSACTIONS else "together "
    chaos.planned = {(call, number): STALL for number in range(chance.randint(2, 6), 90, 3)}
    settings = Settings(strikes=1000, lost=1000, cached=chance.choice((0, 256)))
    return Case(seed, store, {"r1": parts}, chaos, settings, replicas=chance.choice((2, 3)))


def _stalling_often(seed: int, store: str) -> Case:
    """The same, in the claims of tasks too, whose answers come when others have them."""
    case = _stalling(seed + 1000, store)
    case.seed, case.chaos.slow = seed, 0.5
    call, step = ("update O", 3) if store not in TRANSACTIONS else ("together ", 2)
    case.chaos.planned |= {(call, number): STALL for number in range(3, 90, step)}
    return case


def _cancelling(seed: int, store: str) -> Case:
    """A parked run is cancelled by somebody who dies over it."""
    program, right = ["approve", "yes-n1", None], ["approval", "approved", "n1"]
    case = Case(seed, store, {"r1": (program, right)}, calm(seed), _patient(), replicas=1)
    case.cancels = {"r1": 0.5}
    case.insists = False
    case.chaos.planned = {("update" if store not in TRANSACTIONS else "together", 4): CRASH_AFTER}
    case.chaos.until = 9
    return case


def _killed(seed: int, store: str) -> Case:
    """A run is killed by people, while its processes stand still over its tasks and steps."""
    chance = random.Random(seed)
    tasks = [["task", "work", f"n{number}", {"ms": 700}] for number in range(20)]
    steps = [["step", f"s{number}", {"ms": 700}] for number in range(20)]
    waits = ["approve", "never-n20", None]
    program = ["gather", False, ["seq", *tasks], ["seq", *steps], waits]
    chaos = Chaos(random.Random(seed), stalls=chance.choice((3.0, 9.0)), slow=0.3)
    case = Case(seed, store, {"r1": (program, None)}, chaos, _patient(), replicas=2)
    case.local = chance.random() < 0.5
    case.kills = {"r1": chance.uniform(0.05, 6.0)}
    kinds = ("pause", "stall", "heart", "loop", "crash")
    case.events = [(chance.uniform(0.05, 8.0), chance.choice(kinds)) for _ in range(2)]
    return case


def _asked_again(seed: int, store: str) -> Case:
    """A run swallows its cancellations until it has been asked often enough."""
    chance = random.Random(seed)
    program = ["meanwhile", ["task", "work", "n1", {"hangs": -1}], ["stubborn", 2]]
    chaos = Chaos(random.Random(seed), messages=0.3, slow=0.5)
    call = "update H" if store not in TRANSACTIONS else "together "
    chaos.planned = {(call, number): TOLD_FAILED for number in range(3, 20, 2)}
    case = Case(seed, store, {"r1": (program, None)}, chaos, _patient(), replicas=2)
    case.local = chance.random() < 0.5
    case.cancels, case.repeats = {"r1": chance.uniform(0.05, 2.0)}, 30
    return case


def _wide(seed: int, store: str) -> Case:
    """A run has many branches, and goes on in one after the other: that costs what one costs."""
    chance = random.Random(seed)
    branches, right = [], []
    for number in range(40 + seed):
        names = [f"n{number}", f"m{number}"]
        pair = [["task", "work", name, {"ms": chance.randint(5, 3_000)}] for name in names]
        branches.append(["seq", *pair])
        right.append([[name, None] for name in names])
    case = Case(seed, store, {"r1": (["gather", False, *branches], right)}, calm(seed), Settings())
    case.local, case.chaos.slow, case.replicas = chance.random() < 0.5, 0.2, 1
    return case


def _unheard(seed: int, store: str) -> Case:
    """The message for a task is lost, while a step of its run goes on and on."""
    program = ["race", ["step", "s1", {"hangs": -1}], ["task", "work", "n1", {}]]
    chaos = Chaos(random.Random(seed), messages=0.9, until=3.0)
    return Case(seed, store, {"r1": (program, ["n1", None])}, chaos, _patient(), replicas=2)


def _arriving(seed: int, store: str) -> Case:
    """Outcomes keep arriving while the run that waits for them parks, and every call is slow."""
    waits = [["approve", f"yes-n{number}", None] for number in range(6)]
    right = [["approval", "approved", f"n{number}"] for number in range(6)]
    case = Case(seed, store, {"r1": (["gather", False, *waits], right)}, calm(seed), _patient())
    case.chaos.slow = 1.0
    return case


def _losing(seed: int, store: str) -> Case:
    """A task that never ends loses a race, and the process that should cancel it dies."""
    never = ["task", "work", "n1", {"hangs": -1}]
    program, right = ["race", never, ["approve", "yes-n2", None]], ["approval", "approved", "n2"]
    chaos = Chaos(random.Random(seed))
    call = "update H" if store not in TRANSACTIONS else "together "
    chaos.planned = {(call, 3 + seed % 4): CRASH_AFTER}
    return Case(seed, store, {"r1": (program, right)}, chaos, _patient(), replicas=3)


def _logging(seed: int, store: str) -> Case:
    """What a task logged cannot be kept."""
    program, right = ["task", "work", "n1", {"logs": True}], ["n1", None]
    chaos = Chaos(random.Random(seed))
    chaos.planned = {("put L", number): BEFORE for number in range(1, 5)}
    return Case(seed, store, {"r1": (program, right)}, chaos, _patient())


def _long(seed: int, store: str) -> Case:
    """Tasks take longer than the grace, while sweepers are slow and messages are lost."""
    names = [f"n{number}" for number in range(4)]
    program = ["seq", *(["task", "work", name, {"ms": 4_000 + seed * 100}] for name in names)]
    chaos = Chaos(random.Random(seed), messages=0.3, slow=1.0)
    right = [[name, None] for name in names]
    return Case(seed, store, {"r1": (program, right)}, chaos, _patient(), replicas=3)


def _pausing(seed: int, store: str) -> Case:
    """A process stands still for longer than its leases, over work that takes several of them."""
    chance = random.Random(seed)
    tasks = [["task", "work", f"n{number}", {"ms": 15_000}] for number in range(3)]
    program = ["gather", False, *tasks, ["step", "s1", {"ms": 20_000}]]
    right = [*([f"n{number}", None] for number in range(3)), ["s1", None]]
    chaos = Chaos(random.Random(seed), messages=0.5, stalls=9.0)
    case = Case(seed, store, {"r1": (program, right)}, chaos, _patient(), replicas=1)
    case.local = chance.random() < 0.5
    case.events = [(chance.uniform(0.05, 25.0), "pause") for _ in range(3)]
    case.events += [(chance.uniform(0.05, 25.0), "heart") for _ in range(2)]
    return case


def _blocking(seed: int, store: str) -> Case:
    """Something blocks the loop of a process again and again, beside work that takes long."""
    chance = random.Random(seed)
    tasks = [["task", "work", f"n{number}", {"ms": 3_000}] for number in range(3)]
    program = ["gather", False, *tasks, ["step", "s1", {"ms": 4_000}]]
    right = [*([f"n{number}", None] for number in range(3)), ["s1", None]]
    case = Case(seed, store, {"r1": (program, right)}, calm(seed), _patient(), replicas=2)
    case.local = chance.random() < 0.5
    case.events = [(chance.uniform(0.05, 12.0), "blocked") for _ in range(4)]
    return case


def _standing(seed: int, store: str) -> Case:
    """The loop of a process stands still over its work, again and again; its heart beats on."""
    case = _pausing(seed, store)
    chance = random.Random(f"loop/{seed}")
    case.chaos.stalls, case.replicas = 7.0, 2
    case.events = [(chance.uniform(0.05, 25.0), "loop") for _ in range(4)]
    return case


def _refusing(seed: int, store: str) -> Case:
    """The store refuses all processes, or one, for minutes: no death, so nothing is to blame."""
    chance = random.Random(seed)
    tasks = [["task", "work", f"n{number}", {"ms": 9_000}] for number in range(3)]
    program = ["seq", ["gather", False, *tasks], ["step", "s1", {"ms": 8_000}]]
    right = [[[f"n{number}", None] for number in range(3)], ["s1", None]]
    chaos = Chaos(random.Random(seed))
    case = Case(seed, store, {"r1": (program, right)}, chaos, Settings(), replicas=2)
    case.local = chance.random() < 0.5
    kinds = ("outage", "refused")
    case.events = [(chance.uniform(0.05, 15.0), chance.choice(kinds)) for _ in range(2)]
    return case


def _out(seed: int, store: str) -> Case:
    """The store refuses all processes at once, and does nothing: no work is lost by that."""
    case, chance = _refusing(seed, store), random.Random(f"out/{seed}")
    task, inline = ["task", "work", "n1", {"ms": 75_000}], ["step", "s1", {"ms": 75_000}]
    case.programs = {
        "r1": (["gather", False, task, inline], [["n1", None], ["s1", None]]),
        "r2": (task, ["n1", None]),
    }
    case.chaos.whole = True
    case.events = [(chance.uniform(3.0, 15.0), "outage")]
    return case


def _paused_in_turn(seed: int, store: str) -> Case:
    """Whoever holds the work is paused, again and again; each wakes up, so none of them died."""
    work = (["step", "s1", {"ms": 30_000}], ["task", "work", "n1", {"ms": 30_000}])[seed % 2]
    chaos = Chaos(random.Random(seed), stalls=9.0, until=200.0)
    case = Case(seed, store, {"r1": (work, [work[-2], None])}, chaos, Settings(), replicas=2)
    case.local = seed % 4 > 1
    case.events = [(1.0 + 14 * number, "pause holder") for number in range(7)]
    return case


def _handed_over(seed: int, store: str) -> Case:
    """A process hands over what it holds again and again, and nothing of that is to blame."""
    tasks = [["task", "work", f"n{number}", {"ms": 9_000}] for number in range(2)]
    program = ["gather", False, *tasks, ["step", "s1", {"ms": 9_000}]]
    right = [*([f"n{number}", None] for number in range(2)), ["s1", None]]
    case = Case(seed, store, {"r1": (program, right)}, calm(seed), Settings(), replicas=1)
    case.local = seed % 2 == 0
    case.events = [(1.0 + 8 * number, "released") for number in range(8)]
    return case


def _denied(seed: int, store: str) -> Case:
    """A stuck run is resumed, and the store takes that and answers with an error."""
    case = _killing(["kill", "r1", 8], "alive", resumes=True)(seed, store)
    case.chaos.until = 300.0
    case.chaos.planned = {("update H", 2 * number + seed): TOLD_FAILED for number in range(99)}
    return case


def _retried(seed: int, store: str) -> Case:
    """Runs fail again and again, and are retried until they succeed, while much goes wrong."""
    chance = random.Random(seed)
    fails = chance.randint(1, 3)
    task, step = ["task", "work", "n1", {"fails": fails}], ["step", "s1", {"fails": fails}]
    bad = chance.choice((task, step, ["task", "retried", "n2", {"fails": 2 * fails}]))
    slow = ["deadline", 1_000, ["task", "work", "n3", {"hangs": fails}]]
    good = ["task", "work", "n4", {"ms": chance.choice((0, 700, 2_500))}]
    beside: list[Any] = chance.choice((good, ["sleep", 1_500], ["step", "s2", {"ms": 400}]))
    beside = chance.choice((beside, ["approve", "yes-7", None]))
    programs = (
        ["seq", good, bad, ["sleep", 300]],
        ["gather", False, bad, beside, good],
        ["group", beside, ["gather", False, bad, ["noise"]]],
        ["undo", ["seq", ["step", "s3", {}], bad, good], ["task", "work", "n5", {}]],
        ["seq", beside, slow, ["step", "s4", {}]],
        ["gather", False, beside, ["undo", slow, ["step", "s5", {}]]],
        ["group", ["task", "work", "n6", {"ms": 9_000}], bad, ["task", "work", "n7", {"ms": 20}]],
        ["gather", False, slow, ["undo", bad, ["sleep", 900]], ["step", "s6", {"ms": 2_500}]],
    )
    program = programs[seed % len(programs)]
    chaos = chaos_of(chance, transactions=store in TRANSACTIONS, big=False)
    case = Case(seed, store, {"r1": (program, _right(program))}, chaos, _patient(), replicas=2)
    case.local, case.retries = chance.random() < 0.5, True
    case.events = [
        (chance.uniform(0.5, 12.0), chance.choice(("crash", "pause", "close"))) for _ in range(4)
    ]
    return case


def _retried_and_killed(seed: int, store: str) -> Case:
    """Somebody kills a run that fails and is retried, at any moment."""
    case = _retried(seed, store)
    case.kills = {"r1": random.Random(f"kill/{seed}").uniform(0.2, 8.0)}
    return case


def _retried_and_answered(seed: int, store: str) -> Case:
    """Runs answer as they fail, and otherwise once they are retried: the first answer stands."""
    case = _retried(seed, store)
    chance = random.Random(f"answers/{seed}")
    bad = chance.choice((["task", "work", "n1", {"fails": 1}], ["step", "s1", {"fails": 2}]))
    undo = ["undo", bad, ["respond", "failed"]]
    case.programs["r1"] = ["seq", undo, ["respond", "well"]], [_right(bad), True]
    return case


def _retried_and_set_back(seed: int, store: str) -> Case:
    """Clocks jump between the failures of a run and its retries."""
    case = _retried(seed, store)
    chance = random.Random(f"jump/{seed}")
    program, right = case.programs["r1"]
    case.programs["r1"] = _with_naps(program), right
    case.jumpy = True
    case.events += [(chance.uniform(0.5, 10.0), "jump") for _ in range(2)]
    return case


def _with_naps(node: Any) -> Any:
    """The program with waits that measure nothing, since clocks jump."""
    if not isinstance(node, list):
        return node
    return ["nap" if each == "sleep" else _with_naps(each) for each in node]


def _right(node: Any) -> Any:
    """What a program of `_retried` gives in the end."""
    kind, *rest = node
    match kind:
        case "task" | "step":
            return [rest[-2], None]
        case "sleep":
            return True
        case "noise":
            return "~"
        case "approve":
            return ["approval", "approved", rest[0].partition("-")[2]]
        case "undo":
            return _right(rest[0])
        case "deadline":
            return _right(rest[1])
        case "gather":
            return [_right(each) for each in rest[1:]]
    return [_right(each) for each in rest]


def _full(seed: int, store: str) -> Case:
    """There are many tasks at once, of several runs, and few slots, in processes that pause."""
    chance = random.Random(seed)
    chaos = Chaos(random.Random(seed), messages=0.1, slow=0.2)
    case = Case(seed, store, {}, chaos, _patient(), replicas=2, local=chance.random() < 0.7)
    case.settings = Settings(strikes=1000, lost=1000, tasks=2)
    for run in ("r1", "r2", "r3"):
        names = [f"n{number}" for number in range(6)]
        tasks = [["task", "work", name, {"ms": 900}] for name in names]
        case.programs[run] = (["gather", False, *tasks], [[name, None] for name in names])
    kinds = ("pause", "loop", "close")
    case.events = [(chance.uniform(0.05, 6.0), chance.choice(kinds)) for _ in range(2)]
    return case


def _set_back(seed: int, store: str) -> Case:
    """Clocks jump, mostly back, under a run that sleeps again and again."""
    chance = random.Random(seed)
    program = ["seq", *(["nap", 2_000] for _ in range(20)), ["task", "work", "n1", {}]]
    chaos = Chaos(random.Random(seed), stalls=3.0)
    settings = Settings(cached=chance.choice((0, 256)))
    case = Case(seed, store, {"r1": (program, [*[True] * 20, ["n1", None]])}, chaos, settings)
    case.jumpy, case.replicas, case.local = True, 1, chance.random() < 0.5
    case.events = [(0.01, "jump"), (8.0, "jump"), (12.0, "jump")]
    return case


def _ahead(seed: int, store: str) -> Case:
    """A process dies whose clock is ahead; the next one has the right time, and what it held."""
    chance = random.Random(seed)
    tasks = [["task", "retried", "n1", {"fails": 1}], ["task", "work", "n2", {"ms": 6_000}]]
    program = ["gather", False, *tasks, ["nap", 4_000], ["step", "s1", {"ms": 6_000}]]
    case = Case(seed, store, {}, Chaos(random.Random(seed), stalls=3.0), _patient(), replicas=1)
    case.programs = {
        "r1": (program, [["n1", None], ["n2", None], True, ["s1", None]]),
        "r2": (["gather", False, *tasks], [["n1", None], ["n2", None]]),
    }
    case.jumpy, case.local, case.lag = True, chance.random() < 0.5, chance.choice((0, 300))
    case.events = [(0.0, "ahead"), (chance.uniform(0.05, 12.0), chance.choice(("crash", "right")))]
    return case


def _poisoned(seed: int, store: str) -> Case:
    """A task that kills every process that begins it has neighbours, who do nothing wrong."""
    chance = random.Random(seed)
    poison = ["task", "work", "p1", {"kills": FOR_EVER, "ms": chance.choice((0, 300))}]
    tasks = [["task", "work", f"n{number}", {"ms": 14_000}] for number in range(2)]
    right = [[f"n{number}", None] for number in range(2)]
    case = Case(seed, store, {}, calm(seed), Settings(), replicas=chance.choice((1, 1, 2)))
    case.programs = {
        "r1": (["try", poison, None, None], ["caught", "lost"]),
        "r2": (["gather", False, *tasks], right),
        "r3": (["step", "s1", {"ms": 14_000}], ["s1", None]),
    }
    case.local = chance.random() < 0.5
    return case


def _behind(seed: int, store: str) -> Case:
    """Processes are closed over steps of a run whose suspended instances others have."""
    case = _napping(seed, store, Settings(strikes=1000, lost=1000, cached=256))
    case.chaos.slow = 0.05
    chance = random.Random(seed)
    case.events = [(chance.uniform(0.3, 12.0), "close holder") for _ in range(6)]
    return case


def _taken_back(seed: int, store: str) -> Case:
    """Work is handed over by loops that go on, while every call takes its time."""
    case = _napping(seed, store, Settings(strikes=1000, lost=1000, cached=0))
    case.chaos.slow = 0.6
    chance = random.Random(seed)
    case.events = [(chance.uniform(0.1, 25.0), "released holder") for _ in range(12)]
    return case


def _decided_meanwhile(seed: int, store: str) -> Case:
    """Who carries out a step dies; others knew the run before, and what was decided meanwhile."""
    case = _napping(seed, store, Settings(strikes=1000, lost=1000, cached=256))
    parts, right = list[Any](), list[Any]()
    for number in range(4):
        step = ["step", f"s{number}", {"ms": 2_500}]
        both = ["gather", False, step, ["approve", f"yes-n{number}", None]]
        parts += [["nap", 300], ["nap", 300], both]
        right += [True, True, [[f"s{number}", None], ["approval", "approved", f"n{number}"]]]
    case.programs = {"r1": (["seq", *parts], right)}
    chance = random.Random(seed)
    kinds = ("crash holder", "close holder")
    case.events = [(chance.uniform(0.5, 12.0), chance.choice(kinds)) for _ in range(2)]
    return case


def _claimed_meanwhile(seed: int, store: str) -> Case:
    """Work is handed over while claims of tasks are under way, and the loop goes on with them."""
    seed += 7  # the first that meets the moment
    chance = random.Random(seed)
    branches, right = list[Any](), list[Any]()
    for number in range(6):
        names = [f"n{number}", f"m{number}", f"l{number}"]
        tasks = [["task", "work", name, {"ms": chance.randint(5, 800)}] for name in names]
        branches.append(["seq", *tasks])
        right.append([[name, None] for name in names])
    case = Case(seed, store, {"r1": (["gather", False, *branches], right)}, calm(seed), _patient())
    case.replicas, case.chaos.slow = 3, 0.5
    case.events = [(chance.uniform(0.1, 6.0), "released holder") for _ in range(8)]
    return case


def _voted_and_retried(seed: int, store: str) -> Case:
    """People vote on what a retry of its failed run opens again."""
    case, chance = _retried(seed, store), random.Random(f"votes/{seed}")
    node, value = ballot("v1", chance, wide=True)
    bad = ["task", "work", "n1", {"fails": chance.randint(2, 4), "ms": chance.choice((30, 700))}]
    case.programs = {"r1": (["gather", False, node, bad], [value, ["n1", None]])}
    return case


def _napping(seed: int, store: str, settings: Settings) -> Case:
    """A run that sleeps before each of its steps."""
    parts = [x for n in range(8) for x in (["nap", 300], ["step", f"s{n}", {"ms": 700}])]
    right = [x for n in range(8) for x in (True, [f"s{n}", None])]
    chaos = Chaos(random.Random(seed))
    return Case(seed, store, {"r1": (["seq", *parts], right)}, chaos, settings, replicas=3)


def _patient() -> Settings:
    return Settings(strikes=1000, lost=1000)


def _linked(seed: int, store: str) -> Case:
    """Links are read, handed on, and read again by whoever has the run then."""
    case = case_of(seed, store)
    case.cancels, case.kills = {}, {}
    case.programs = {run: linked(*drawn) for run, drawn in case.programs.items()}
    return case


def _told_and_retried(seed: int, store: str) -> Case:
    """The same of runs that fail and are retried, so that some have been told of an end."""
    case = _retried(seed, store)
    case.programs["r1"] = with_notices(case.programs["r1"], random.Random(f"told/{seed}"))
    return case


def _said_last(seed: int, store: str) -> Case:
    """Processes die, or are told nothing, as they write what their attempts said last."""
    chance = random.Random(seed)
    tasks = [["task", "work", f"n{number}", {"emits": 3}] for number in range(8)]
    right = [[f"n{number}", None] for number in range(8)]
    case = Case(seed, store, {"r1": (["seq", *tasks], right)}, calm(seed), _patient(), replicas=2)
    call, most = ("put S", 9) if store not in TRANSACTIONS else ("together ", 40)
    faults = (CRASH_BEFORE, CRASH_AFTER, TOLD_FAILED, BEFORE)
    case.chaos.planned = {(call, chance.randint(1, most)): chance.choice(faults) for _ in range(3)}
    case.chaos.until, case.follows = 60.0, True
    return case


def _followed(scenario: Scenario, first: int = 0) -> Scenario:
    """The same from this seed on, with programs that emit, and readers."""

    def case(seed: int, store: str) -> Case:
        made = scenario(first + seed, store)
        emitting(made)
        return made

    return case


SCENARIOS: Mapping[str, Scenario] = {
    "a queue keeps the messages": queued,
    "ended runs are removed": removed,
    "failed runs are removed": retried_and_removed,
    "a key counts on": keyed,
    "what was said last is written": lambda seed, store: _said_last(seed + 2, store),
    "what goes wrong is followed": _followed(case_of),
    "retries are followed": _followed(_retried, 2),
    "holders who stall are followed": _followed(_stalling, 1),
    "people vote on what is retried": _voted_and_retried,
    **LIMITED_SCENARIOS,
    **TAGGED_SCENARIOS,
    **OUTSIDE_SCENARIOS,
    "a task that kills its process is lost": _killing(
        ["try", ["task", "work", "n1", {"kills": FOR_EVER}], None, None], ["caught", "lost"]
    ),
    "a task may kill two processes": _killing(["task", "work", "n1", {"kills": 2}], ["n1", None]),
    "a step that kills its process is stuck": _killing(
        ["step", "s1", {"kills": FOR_EVER}], None, stuck=frozenset({"r1"})
    ),
    "a step may kill some processes": _killing(["step", "s1", {"kills": 3}], ["s1", None]),
    "a body that kills its process is stuck": _killing(
        ["kill", "r1", FOR_EVER], None, stuck=frozenset({"r1"})
    ),
    "a stuck run can be resumed": _killing(["kill", "r1", 8], "alive", resumes=True),
    "processes are closed": _closing,
    "holders stall": _stalling,
    "holders stall often": _stalling_often,
    "processes pause": _pausing,
    "loops stand still": _standing,
    "whoever works is paused": _paused_in_turn,
    "work is handed over": _handed_over,
    "work is handed over and taken back": _taken_back,
    "work is handed over while it is claimed": _claimed_meanwhile,
    "instances are behind": _behind,
    "a decision comes during a step": _decided_meanwhile,
    "links are handed on": _linked,
    "people are told": told,
    "people are told again": _told_and_retried,
    "a resuming is denied": _denied,
    "a store refuses for minutes": _refusing,
    "an outage meets all": _out,
    "failed runs are retried": _retried,
    "retried runs are killed": _retried_and_killed,
    "retried runs have answered": _retried_and_answered,
    "clocks jump under retried runs": _retried_and_set_back,
    "few slots are free": _full,
    "loops are blocked": _blocking,
    "clocks are set back": _set_back,
    "a clock is ahead": _ahead,
    "a poison has neighbours": _poisoned,
    "outcomes keep arriving": _arriving,
    "a loser goes on elsewhere": _losing,
    "a log is lost": _logging,
    "tasks take long": _long,
    "a run is wide": _wide,
    "arrivals are counted beside the header": counted,
    "arrivals are counted in two rounds": counted_and_retried,
    "arrivals are counted slowly": counted_slowly,
    "arrivals are counted late": counted_late,
    "groups are under processes that die": grouped,
    "a canceller dies": _cancelling,
    "runs are killed": _killed,
    "a run is cancelled again and again": _asked_again,
    "a message is lost during a step": _unheard,
}
