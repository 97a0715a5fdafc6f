"""Limits of tasks and workflows: how many at once, how often, for whom, and what waits for whom.

A limit has a *key*, which is made of the arguments of the call. It is made where these are known:
in the body that asks for a task, and where a run is started. What it came to is recorded, so no
other process has to know the function, and a deploy that changes it strands nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from math import isfinite
from typing import Any, Literal, Protocol, TypedDict, get_origin

from rewake.authoring.hints import signature_of
from rewake.authoring.policy import Seconds, positive
from rewake.errors import AppError, InvalidInput
from rewake.limited import HIGHEST, Limited, LimitKind, Millis, Terms
from rewake.values.failures import described
from rewake.values.text import storable, stored_size

MOST_LIMITS = 4
"""The most limits of one task or workflow."""
MOST_AT_ONCE = 1_000
"""The most that may hold one limit at once: each has a place in its item."""
LONGEST_NAME, LONGEST_KEY, SHOWN_KEY = 64, 1_024, 48
"""The most bytes of a name, of a key, and of what of a key is kept for people."""
_LONGEST: Millis = 366 * 86_400_000
MOST_IN_A_BATCH = 10_000
"""The most items of one batch."""

KeyOf = Callable[..., str | int | float]
"""Makes the key of a limit. Its parameters are some of those of the task or workflow, by name."""
Veil = Callable[[str], str]
"""A digest of a key, where nobody may read it in the store; empty: it may be read."""


def by_tenant() -> str:
    """A key that is the tenant of the run, for `key=`: each tenant has a limit of its own."""
    return ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit as it was asked for. `mode`: of a singleton. `longest`: of a debounce."""

    kind: LimitKind
    count: int = 1
    per: Millis = 0
    burst: int = 1
    key: KeyOf | None = None
    name: str = ""
    mode: str = ""
    longest: Millis = 0
    takes: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        if self.key is None:
            return
        if not callable(self.key):
            raise AppError(f"key= of {self.kind} is a function of the arguments, not {self.key!r}")
        if inspect.iscoroutinefunction(self.key):
            raise AppError(f"key= of {self.kind} must not be async: it is called where a call is")
        signature = signature_of(self.key)
        named = signature.parameters.values() if signature else ()
        if any(p.kind is p.VAR_POSITIONAL for p in named):
            raise AppError(f"key= of {self.kind} takes arguments by name: no *args")
        object.__setattr__(self, "takes", tuple(p.name for p in named))


def concurrency(count: int, *, key: KeyOf | None = None, name: str = "") -> Rule:
    """At most `count` at once, of each `key`; the others wait in line, and hold nothing.

    `name`: all that name one share one limit; by default it is that of the task or workflow.
    Raises `ValueError` for a count that is no whole number from 1 to 1,000.
    """
    _whole("concurrency", count, MOST_AT_ONCE)
    return Rule(LimitKind.CONCURRENCY, count, key=key, name=_named("concurrency", name))


def rate(
    count: int,
    *,
    per: Seconds,
    burst: int | None = None,
    key: KeyOf | None = None,
    name: str = "",
) -> Rule:
    """At most `count` begin in `per` seconds (or a `timedelta`), of each `key`.

    They are spread evenly. `burst`: how many may begin at once when nothing has begun for long; by
    default 1, and for `throttle=` as many as `count`. `name` is as of `concurrency`. The rule is a
    generic cell rate algorithm (ITU-T I.371).

    Raises `ValueError` for a number that is out of range.
    """
    _whole("rate", count, 10**9)
    if burst is not None:
        _whole("burst of rate", burst, 10**6)
    span = span_of("per of rate", per)
    if span * 1000 < count:
        raise ValueError(f"rate({count}) is for {count} microseconds at least, not {per!r}")
    return Rule(LimitKind.RATE, count, span, burst or 0, key, _named("rate", name))


def singleton(mode: Literal["skip", "cancel"], *, key: KeyOf | None = None) -> Rule:
    """One run at a time, of each `key`. A start while there is one is that run (`skip`), or cancels
    it and waits until it has ended (`cancel`).
    """
    return _singleton(mode, key)


def _singleton(mode: object, key: KeyOf | None = None) -> Rule:
    if mode not in ("skip", "cancel"):
        raise ValueError(f'singleton is "skip" or "cancel", not {mode!r}'[:200])
    return Rule(LimitKind.SINGLETON, key=key, mode=str(mode))


def debounce(wait: Seconds, *, longest: Seconds | None = None, key: KeyOf | None = None) -> Rule:
    """Begin when nothing more has come for `wait` seconds, with what came last, of each `key`.

    All starts until then are one run. `longest`: it begins that long after the first at the latest,
    by default after ten times `wait`. Raises `ValueError` for a time that is not more than 0.
    """
    quiet = span_of("wait of debounce", wait)
    most = 10 * quiet if longest is None else span_of("longest of debounce", longest)
    if most < quiet:
        raise ValueError("longest of debounce is no shorter than its wait")
    return Rule(LimitKind.DEBOUNCE, per=quiet, key=key, longest=most)


def batch(count: int, *, within: Seconds, key: KeyOf | None = None) -> Rule:
    """Begin with what has come together: `count` items, or what there is `within` seconds of the
    first, of each `key`.

    Each start brings a list, the only parameter of the workflow, and the run gets one list of all.
    Raises `ValueError` for a count that is no whole number from 2 to 10,000, or a bad time.
    """
    _whole("batch", count, MOST_IN_A_BATCH, least=2)
    span = span_of("within of batch", within)
    return Rule(LimitKind.BATCH, count, span, key=key)


class Caches(Protocol):
    """How the results of a task are cached."""

    @property
    def code(self) -> str:
        """The digest of what makes them: the function, and its version."""
        ...

    def limited(self, name: str, arguments: Mapping[str, Any], tenant: str, veil: Veil) -> Limited:
        """By what the result of one call is cached. Raises `UsageError` if that cannot be told."""
        ...


_OF_TENANT = (LimitKind.SINGLETON, LimitKind.DEBOUNCE, LimitKind.BATCH)
"""Kinds by which a start is answered with another run: never with one of another tenant."""


class LimitOptions(TypedDict, total=False):
    """`limits`: made by `concurrency` and `rate`; what is too much waits. `throttle`: made by
    `rate`; what is too much is refused. `priority`: -100 to 100; a higher one goes first.
    """

    limits: Sequence[Rule] | Rule
    throttle: Rule | None
    priority: int


@dataclass(frozen=True, slots=True)
class Rules:
    """All limits of one task or workflow, checked. `name`: whose they are."""

    name: str
    limits: tuple[Rule, ...] = ()
    throttle: Rule | None = None
    gathering: Rule | None = None
    """How starts are gathered: by debounce or in batches."""
    singleton: Rule | None = None
    priority: int = 0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    cache: Caches | None = None

    def __bool__(self) -> bool:
        return bool(self.all or self.gathering or self.priority or self.cache)

    @property
    def all(self) -> tuple[Rule, ...]:
        """All limits of a call."""
        more = (self.throttle, self.singleton)
        return (*self.limits, *(rule for rule in more if rule is not None))

    def terms(self, arguments: Mapping[str, Any], *, tenant: str, veil: Veil) -> Terms:
        """The terms of one call. Raises `InvalidInput` if a key cannot be made."""
        limits = tuple(self.limited(rule, arguments, tenant, veil) for rule in self.all)
        keys = [each.digest or each.key for each in limits if each.key]
        share = f"t{tenant}" if tenant else "k" + "\0".join(sorted(keys))
        if self.cache is not None:
            limits += (self.cache.limited(self.name, arguments, tenant, veil),)
        return Terms(limits, self.priority, sha256(share.encode()).hexdigest()[:8])

    def limited(self, rule: Rule, arguments: Mapping[str, Any], tenant: str, veil: Veil) -> Limited:
        """One limit for one call. Raises `InvalidInput` if its key cannot be made."""
        key, digest = self._key(rule, arguments, tenant), ""
        if tenant and rule.kind in _OF_TENANT and rule.key is not by_tenant:
            key = f"{tenant}/{key}"
        if key and (hidden := veil(key)):
            key, digest = hidden[:12], hidden
        elif len(key.encode()) > SHOWN_KEY:
            digest = sha256(key.encode()).hexdigest()[:32]
            key = key.encode()[: SHOWN_KEY - 3].decode(errors="ignore") + "…"
        kind, name = rule.kind, rule.name or self.name
        return Limited(kind, name, key, rule.count, rule.per, rule.burst, digest)

    def _key(self, rule: Rule, arguments: Mapping[str, Any], tenant: str) -> str:
        if rule.key is None:
            return ""
        if rule.key is by_tenant:
            return tenant
        known = {**self.defaults, **arguments}
        try:
            made = rule.key(**{name: known[name] for name in rule.takes if name in known})
        except Exception as error:
            raise self._wrong(rule, f"failed: {described(error)}") from error
        return self._checked(rule, made)

    def _checked(self, rule: Rule, made: object) -> str:
        if isinstance(made, bool) or not isinstance(made, int | float | str):
            raise self._wrong(rule, f"gives a text or a number, not {made!r}"[:200])
        if isinstance(made, float) and not isfinite(made):
            raise self._wrong(rule, f"gives a text or a number, not {made!r}")
        if isinstance(made, int) and made.bit_length() > 8 * LONGEST_KEY:  # Python writes no longer
            raise self._wrong(rule, f"is a number of more than {LONGEST_KEY} digits")
        text = storable(str(made))
        if not 1 <= (size := stored_size(text)) <= LONGEST_KEY:
            raise self._wrong(rule, f"has 1 to {LONGEST_KEY} bytes of UTF-8, and this one {size}")
        return text

    def _wrong(self, rule: Rule, told: str) -> InvalidInput:
        """The error of a key. It names the argument that the key is made of, if it is one."""
        (field,) = rule.takes if len(rule.takes) == 1 else ("",)
        return InvalidInput(f"key= of {rule.kind} of {self.name} {told}", field=field)


def rules_of(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> Rules | None:
    """The limits that these options ask for; None: none. They are taken out of `options`.

    Raises `AppError` and `ValueError` for what cannot be.
    """
    given = {each: options.get(each) for each in ("limits", "throttle", "singleton")}
    given |= {each: options.get(each) for each in ("debounce", "batch")}
    limits = given["limits"] if given["limits"] is not None else ()
    limits = (limits,) if isinstance(limits, Rule) else limits
    if not isinstance(limits, list | tuple):
        raise AppError(f"limits= of {name} is a list of concurrency(...) and rate(...)")
    one = given["singleton"]
    one = _singleton(one) if isinstance(one, str) else one
    _kinds(name, "limits", limits, LimitKind.CONCURRENCY, LimitKind.RATE)
    _kinds(name, "throttle", _given(given["throttle"]), LimitKind.RATE)
    _kinds(name, "singleton", _given(one), LimitKind.SINGLETON)
    _kinds(name, "debounce", _given(given["debounce"]), LimitKind.DEBOUNCE)
    _kinds(name, "batch", _given(given["batch"]), LimitKind.BATCH)
    if len(limits) > MOST_LIMITS:
        raise AppError(f"{name} has {len(limits)} limits; at most {MOST_LIMITS} can be minded")
    gathering = [rule for each in ("debounce", "batch") for rule in _given(given[each])]
    if len(gathering) + bool(one) > 1:
        told = "debounce=, batch= and singleton= each say what a start becomes: take one of them"
        raise AppError(f"{name}: {told}")
    signature = signature_of(function)
    parameters = list(signature.parameters.values()) if signature else []
    rules = Rules(
        name,
        tuple(_numbered(name, limits)),
        _throttle(given["throttle"]),
        gathering[0] if gathering else None,
        one,
        _priority(name, options.get("priority", 0)),
        {p.name: p.default for p in parameters if p.default is not p.empty},
    )
    _check_keys(rules, parameters)
    if given["batch"] is not None:
        _check_batch(name, parameters)
    return rules or None


def _given(rule: Any) -> Sequence[Any]:
    return () if rule is None else (rule,)


def _kinds(name: str, option: str, rules: Iterable[object], *kinds: LimitKind) -> None:
    for each in rules:
        if not isinstance(each, Rule) or each.kind not in kinds:
            made = " or ".join(f"{kind}(...)" for kind in kinds)
            raise AppError(f"{option}= of {name} is made by {made}, and this is {each!r}"[:300])


def _numbered(name: str, limits: Sequence[Rule]) -> Iterable[Rule]:
    """The limits, of which those without a name are told apart by their numbers."""
    for number, rule in enumerate(limits):
        named = rule.name or (f"{name}#{number + 1}" if number else name)
        burst = rule.burst or 1
        yield Rule(rule.kind, rule.count, rule.per, burst, rule.key, named)


def _throttle(rule: Rule | None) -> Rule | None:
    if rule is None:
        return None
    return Rule(LimitKind.THROTTLE, rule.count, rule.per, rule.burst or rule.count, rule.key)


def _check_keys(rules: Rules, parameters: Sequence[inspect.Parameter]) -> None:
    """Raise `AppError` for a key of arguments that the function does not have."""
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = {p.name for p in parameters}
    for rule in (*rules.all, *_given(rules.gathering)):
        signature = signature_of(rule.key) if rule.key is not None else None
        for p in signature.parameters.values() if signature else ():
            needed = p.default is p.empty and p.kind is not p.VAR_KEYWORD
            if p.name not in known and needed:
                told = f"key= of {rule.kind} asks for {p.name!r}, which {rules.name} does not take"
                raise AppError(f"{told} (it takes: {', '.join(sorted(known)) or 'nothing'})")


def _check_batch(name: str, parameters: Sequence[inspect.Parameter]) -> None:
    hint = parameters[0].annotation if len(parameters) == 1 else None
    is_list = hint is list or get_origin(hint) is list or str(hint).startswith("list")
    if not is_list:
        raise AppError(f"batch= of {name}: the workflow takes one list and nothing else")


def _priority(name: str, priority: object) -> int:
    if type(priority) is not int or not -HIGHEST <= priority <= HIGHEST:
        told = f"priority of {name} is a whole number from -{HIGHEST} to {HIGHEST}"
        raise ValueError(f"{told}, not {priority!r}"[:200])
    return priority


def _whole(what: str, count: object, most: int, *, least: int = 1) -> None:
    if type(count) is not int or not least <= count <= most:
        told = f"{what} is for a whole number from {least} to {most}, not {count!r}"
        raise ValueError(told[:200])


def span_of(what: str, duration: object) -> Millis:
    """A duration that an option gives, of a year at most. Raises `ValueError` for all else."""
    is_one = isinstance(duration, int | float | timedelta) and not isinstance(duration, bool)
    if not is_one or (isinstance(duration, float) and not isfinite(duration)):
        raise ValueError(f"{what} is a number of seconds or a timedelta, not {duration!r}"[:200])
    assert isinstance(duration, int | float | timedelta)
    found = positive(what, duration)
    assert found is not None
    if found > _LONGEST:
        raise ValueError(f"{what} is at most a year, not {duration!r}")
    return found


def _named(what: str, name: object) -> str:
    if not isinstance(name, str) or len(name.encode()) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"name of {what} is a text of up to {LONGEST_NAME} bytes, not {name!r}")
    return name
