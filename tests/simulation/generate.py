"""Draws programs whose right result is known beforehand, whatever goes wrong on the way.

Each draw gives a program and what it comes to: a value, or an `Err` that it raises. A race is
always between something short and something that never ends, so that no fault decides it;
where timing does decide, the program says `~`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tests.simulation.programs import BIG, NEVER


@dataclass(frozen=True)
class Err:
    """The program ends in the error of this name."""

    name: str


Drawn = tuple[list[Any], Any]
LEAVES = ("task",) * 6 + ("step",) * 4 + ("sleep",) * 2 + ("approve",) * 2 + ("noise", "never")
TREES = (
    "seq", "seq", "gather", "gather", "group", "first", "race", "parallel", "parallel", "timeout",
    "try", "try", "meanwhile", "queue", "order", "duel", "edge", "barrier",
)  # fmt: skip


class Generator:
    """Draws from `chance`. Names are unique in a program."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._names = 0

    def program(self, *, big: bool = False) -> Drawn:
        """A whole program; with `big`, one that passes large values around."""
        parts = [self.tree(2, may_fail=False) for _ in range(self._chance.randint(1, 3))]
        if big:
            parts.insert(0, self._big_tree())
        if self._chance.random() < 0.1:
            parts.append(self.tree(1, may_fail=True))
        return self._seq(parts)

    def endless(self) -> Drawn:
        """A program that only the timeout of its run ends."""
        node, _ = self._barrier_tree(0, False)
        return ["gather", False, node, self.never()], Err("timeout")

    def observing(self, size: int) -> Drawn:
        """A program in which it matters what was observed, and in which order."""
        trees = (self._order_tree, self._duel_tree, self._edge_tree)
        node, value = self._seq([self._chance.choice(trees)(0, False) for _ in range(size)])
        return node, settled(value)

    def name(self, start: str = "n") -> str:
        """A new name."""
        self._names += 1
        return f"{start}{self._names}"

    def tree(self, depth: int, *, may_fail: bool) -> Drawn:
        """A program of some size."""
        if depth <= 0 or self._chance.random() < 0.25:
            return self.leaf(may_fail=may_fail)
        return getattr(self, f"_{self._chance.choice(TREES)}_tree")(depth - 1, may_fail)  # type: ignore[no-any-return]

    # --- leaves ----------------------------------------------------------------------------

    def leaf(self, *, may_fail: bool) -> Drawn:
        """One operation."""
        kind = self._chance.choice(LEAVES)
        if kind == "task":
            return self.task(may_fail)
        if kind == "step":
            return self._step(may_fail)
        if kind == "sleep":
            return ["sleep", self._chance.choice((1, 20, 150, 999, 1500, 4000))], True
        if kind == "approve":
            return self._approve()
        if kind == "never":
            return ["timeout", self._chance.choice((500, 2000)), self.never()], "late"
        return ["noise"], "~"

    def never(self) -> list[Any]:
        """Something that does not end by itself."""
        name = self.name()
        return self._chance.choice(
            (
                ["sleep", NEVER * 1000],
                ["approve", f"never-{name}", None],
                ["task", "work", name, {"hangs": -1}],
                ["task", "retried", name, {"hangs": -1}],
                ["step", name, {"hangs": -1}],
                ["seq", ["task", "work", name, {}], ["approve", f"never-{name}", NEVER]],
            )
        )

    def task(self, may_fail: bool) -> Drawn:
        """A task that gives its name, perhaps after failures; or one that fails for good."""
        chance, name = self._chance, self.name()
        kind = chance.choice(("work", "work", "retried", "timed", "blocking", "closure"))
        plan: dict[str, Any] = {}
        retries = {"work": 0, "retried": 1, "timed": 3, "blocking": 2, "closure": 2}[kind]
        if kind == "closure":
            plan["retries"] = retries
        if chance.random() < 0.15 and kind != "blocking":
            plan["logs"] = True
        if may_fail and chance.random() < 0.3:
            plan["fails"] = -1
            if chance.random() < 0.3:
                plan["final"] = True
            elif kind == "work" and chance.random() < 0.5:
                kind = "limited"
            return ["task", kind, name, plan], Err(name)
        if retries and chance.random() < 0.4:
            plan["fails"] = chance.randint(1, retries)
            if chance.random() < 0.3:
                plan["after"] = chance.choice((10, 400, 3000))
        elif kind == "timed" and chance.random() < 0.3:
            plan["hangs"] = chance.randint(1, 2)
        if kind != "blocking" and chance.random() < 0.5:
            plan["ms"] = chance.choice((5, 100, 900))
        return ["task", kind, name, plan], [name, "item"]

    def _big_tree(self) -> Drawn:
        """Large results and arguments, which are kept apart from the items."""
        first, second, third = self.name(), self.name("s"), self.name()
        nodes = [
            ["task", "retried", first, {"big": True}],
            ["step", second, {"big": True}],
            ["task", "work", third, {"pad": True}],
        ]
        values = [[first, None, len(BIG)], [second, None, len(BIG)], [third, len(BIG)]]
        kind = self._chance.choice((["seq"], ["gather", False]))
        return [*kind, *nodes], values

    def _step(self, may_fail: bool) -> Drawn:
        chance, name = self._chance, self.name("s")
        plan: dict[str, Any] = {}
        kind = chance.choice(("plain", "sync", "retries", "once"))
        if may_fail and chance.random() < 0.3:
            return ["step", name, {"fails": -1}], Err(name)
        if kind == "sync":
            plan["sync"] = True
        elif chance.random() < 0.4:
            plan["ms"] = chance.choice((5, 100, 900))
            plan["logs"] = chance.random() < 0.3
        if kind == "retries":
            plan |= {"retries": 2, "fails": chance.randint(1, 2)}
        if kind == "once":
            plan["once"] = True
        return ["step", name, plan], [name, "item"]

    def _approve(self) -> Drawn:
        name = self.name()
        timeout = self._chance.choice((None, None, NEVER, 0.7, 3))
        if timeout in (0.7, 3):
            return ["approve", f"never-{name}", timeout], ["approval", "timed_out", None]
        if self._chance.random() < 0.3:
            return ["approve", f"no-{name}", timeout], ["approval", "rejected", None]
        return ["approve", f"yes-{name}", timeout], ["approval", "approved", name]

    # --- trees -----------------------------------------------------------------------------

    def _some(self, depth: int, low: int = 2, high: int = 4) -> list[Drawn]:
        count = self._chance.randint(low, high)
        return [self.tree(depth, may_fail=False) for _ in range(count)]

    def _with_failure(self, depth: int, may_fail: bool) -> tuple[list[Drawn], Err | None]:
        """Branches of which at most one fails: else timing would choose which error is seen."""
        drawn = self._some(depth)
        if may_fail and self._chance.random() < 0.5:
            name = self.name()
            spot = self._chance.randrange(len(drawn))
            drawn[spot] = (["task", "work", name, {"fails": -1}], Err(name))
            return drawn, Err(name)
        return drawn, None

    def _seq(self, parts: list[Drawn]) -> Drawn:
        nodes = ["seq", *(node for node, _ in parts)]
        failed = next((value for _, value in parts if isinstance(value, Err)), None)
        return nodes, failed or [value for _, value in parts]

    def _seq_tree(self, depth: int, may_fail: bool) -> Drawn:
        parts = self._some(depth)
        if may_fail:
            parts.append(self.tree(depth, may_fail=True))
        return self._seq(parts)

    def _gather_tree(self, depth: int, may_fail: bool) -> Drawn:
        if self._chance.random() < 0.5:
            drawn = [self.tree(depth, may_fail=True) for _ in range(self._chance.randint(2, 4))]
            values = [value.name if isinstance(value, Err) else value for _, value in drawn]
            return ["gather", True, *(node for node, _ in drawn)], values
        drawn, failed = self._with_failure(depth, may_fail)
        return ["gather", False, *(n for n, _ in drawn)], failed or [v for _, v in drawn]

    def _barrier_tree(self, depth: int, may_fail: bool) -> Drawn:
        drawn = [self.task(False) for _ in range(self._chance.randint(2, 8))]
        kind = self._chance.choice((["gather", False], ["group"]))
        return [*kind, *(node for node, _ in drawn)], [value for _, value in drawn]

    def _group_tree(self, depth: int, may_fail: bool) -> Drawn:
        drawn, failed = self._with_failure(depth, may_fail)
        return ["group", *(n for n, _ in drawn)], failed or [v for _, v in drawn]

    def _first_tree(self, depth: int, may_fail: bool) -> Drawn:
        node, value = self.tree(depth, may_fail=False)
        nodes = [node, *(self.never() for _ in range(self._chance.randint(1, 2)))]
        self._chance.shuffle(nodes)
        return ["first", *nodes], [value]

    def _race_tree(self, depth: int, may_fail: bool) -> Drawn:
        node, value = self.tree(depth, may_fail=may_fail)
        nodes = [node, *(self.never() for _ in range(self._chance.randint(1, 2)))]
        self._chance.shuffle(nodes)
        return ["race", *nodes], value

    def _duel_tree(self, depth: int, may_fail: bool) -> Drawn:
        nodes = [self.task(False)[0] for _ in range(2)]
        fed = ["task", "work", self.name(), {"feed": True}]
        return ["seq", ["duel", *nodes], fed], ["~", [fed[2], "~"]]

    def _order_tree(self, depth: int, may_fail: bool) -> Drawn:
        nodes = [self.leaf(may_fail=False)[0] for _ in range(self._chance.randint(2, 3))]
        name = self.name()
        fed = self._chance.choice(
            (["task", "work", name, {"feed": True}], ["step", name, {"feed": True, "once": True}])
        )
        return ["seq", ["order", *nodes], fed, ["noise"]], ["~", [name, "~"], "~"]

    def _edge_tree(self, depth: int, may_fail: bool) -> Drawn:
        return ["edge", f"edge-{self.name()}", self._chance.choice((1, 3))], "~"

    def _parallel_tree(self, depth: int, may_fail: bool) -> Drawn:
        items = list(range(self._chance.randint(1, 5)))
        node, value = self.tree(min(depth, 1), may_fail=False)
        concurrency = self._chance.choice((None, 1, 2, 3))
        return ["parallel", items, concurrency, node], [_of_item(value, i) for i in items]

    def _timeout_tree(self, depth: int, may_fail: bool) -> Drawn:
        if self._chance.random() < 0.5:
            node, value = self.tree(depth, may_fail=may_fail)
            return ["timeout", NEVER * 1000, node], value
        # Nothing that catches errors: in Python an error can swallow a cancellation.
        draw = self._chance.choice((self._barrier_tree, self._parallel_tree))
        first, _ = draw(0, False) if depth else self.leaf(may_fail=False)
        node = self._chance.choice((["seq", first, self.never()], ["group", first, self.never()]))
        return ["timeout", self._chance.choice((300, 2000)), node], "late"

    def _try_tree(self, depth: int, may_fail: bool) -> Drawn:
        node, value = self.tree(depth, may_fail=True)
        last = self._chance.choice((None, self.leaf(may_fail=False)[0]))
        handler, handled = self._chance.choice(((None, None), self.leaf(may_fail=False)))
        if isinstance(value, Err):
            value = ["caught", value.name, handled] if handler else ["caught", value.name]
        return ["try", node, handler, last], value

    def _meanwhile_tree(self, depth: int, may_fail: bool) -> Drawn:
        (node, value), (other, behind) = self._some(depth, 2, 2)
        return ["meanwhile", node, other], [value, behind]

    def _queue_tree(self, depth: int, may_fail: bool) -> Drawn:
        names = [self.name() for _ in range(self._chance.randint(2, 5))]
        values = [[name, None] for name in names]
        return ["queue", names, self._chance.choice((0, 1, 2))], values


def _of_item(value: Any, item: Any) -> Any:
    """The value that a program has for this item of a `parallel`."""
    if isinstance(value, list):
        return [_of_item(each, item) for each in value]
    return item if value == "item" else value


def settled(value: Any) -> Any:
    """The value outside of any `parallel`."""
    return _of_item(value, None)


def strip(value: Any) -> Any:
    """A result, with `~` for what depends on timing or chance."""
    if not isinstance(value, list):
        return value
    return "~" if value[:1] == ["~"] else [strip(each) for each in value]
