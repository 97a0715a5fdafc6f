"""A DynamoDB in this process, as small as what the runtime asks of one, with the real one's limits.

It is a wire (`rewake.aws.wire`), so that all above it is what a server runs: expressions,
attributes and repetitions. It evaluates the expressions that we compile and refuses any others.
Nothing in it waits but for one turn of the event loop, before it acts; so it works in virtual time,
where there are no sockets. Its index follows late, and it throttles, if it is told so. What it
evaluates is compared with ministack (`tests/stores/test_small_dynamodb.py`).
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import math
import random
import re
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from rewake.aws.wire import Answer, Lost
from rewake.records import Millis

Attributes = dict[str, dict[str, Any]]
Test = Callable[[Attributes, Mapping[str, str], Attributes], bool]

LARGEST = 400 * 1024
PAGE = 1024 * 1024
_TOKEN = re.compile(r"\s*([#:]?\w+|<=|[=<(),])")


class Refusal(Exception):
    """What a request is answered with, by the name of the exception; `item` is what was found."""

    def __init__(self, type: str, message: str = "", item: Attributes | None = None) -> None:
        super().__init__(message)
        self.type = type
        self.item = item


class SmallDynamo:
    """One table. The index follows `lag` ms late; one in `busy` requests is throttled or lost."""

    def __init__(
        self,
        *,
        now: Callable[[], Millis] = lambda: 0,
        lag: Millis = 0,
        chance: random.Random | None = None,
        busy: float = 0.0,
    ) -> None:
        self.items: dict[str, dict[str, Attributes]] = {}
        self.index: dict[tuple[str, str], tuple[str, Decimal]] = {}
        self._waiting: deque[tuple[Millis, tuple[str, str], tuple[str, Decimal] | None]] = deque()
        self._now, self._lag = now, lag
        self._chance, self._busy = chance or random.Random(0), busy
        self.writes = self.index_writes = self.reads = self.calls = 0
        self.looks = self.entries = 0
        """Requests of the index, and what they had to read of it."""
        self.largest: dict[str, int] = {}
        self.places, self.parts = Counter[str](), Counter[str]()
        """The write units by partition, and those of the index by its parts."""

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        await asyncio.sleep(0)
        operation, request = headers["X-Amz-Target"].partition(".")[2], json.loads(body)
        self.calls += 1
        try:
            self._throttle(operation)
            before = self._units()
            answer = getattr(self, f"_{operation}")(request)
        except Refusal as refusal:
            told = {"__type": f"x#{refusal.type}", "message": str(refusal)}
            if refusal.item is not None and "ReturnValuesOnConditionCheckFailure" in request:
                told["Item"] = refusal.item  # type: ignore[assignment]
            return Answer(400, {}, json.dumps(told).encode())
        if "ReturnConsumedCapacity" in request:
            answer = {**answer, "ConsumedCapacity": {"CapacityUnits": self._units() - before}}
        data = json.dumps(answer).encode()
        return Answer(200, {"x-amz-crc32": str(zlib.crc32(data))}, data)

    def _units(self) -> int:
        return self.writes + self.index_writes + self.reads

    async def renew(self) -> None:
        """The credentials are always good."""

    async def close(self) -> None:
        """Nothing is open."""

    def _throttle(self, operation: str) -> None:
        if self._busy and self._chance.random() < self._busy:
            if operation in ("GetItem", "BatchGetItem", "Query") and self._chance.random() < 0.5:
                raise Lost("no answer came")
            busy = ("ProvisionedThroughputExceededException", "TransactionConflictException")
            raise Refusal(self._chance.choice(busy))

    # --- single items ----------------------------------------------------------------------

    def _GetItem(self, request: Any) -> Any:  # noqa: N802 - as DynamoDB calls it
        found = self._find(request["Key"])
        self.reads += _units(found, 4)
        return {} if found is None else {"Item": found}

    def _PutItem(self, request: Any) -> Any:  # noqa: N802
        item: Attributes = request["Item"]
        found = self._find(item)
        self._check(request, item, found, [])
        self._store(item, found, dict(item))
        return {}

    def _UpdateItem(self, request: Any) -> Any:  # noqa: N802
        found = self._find(request["Key"])
        used: list[str] = []
        names, values = _named(request)
        changes = _changes(request.get("UpdateExpression", ""))
        for name, value, _ in changes:
            used += [name, *([value] if value else [])]
        self._check(request, request["Key"], found, used)
        item: Attributes = dict(found or request["Key"])
        for name, value, how in changes:
            attribute = names.get(name, name)
            if how == "REMOVE":
                item.pop(attribute, None)
            elif how == "SET":
                item[attribute] = values[value]
            else:
                before = item.get(attribute, {"N": "0"})
                if "N" not in before:
                    raise Refusal("ValidationException", "an operand of ADD is no number")
                item[attribute] = {"N": str(int(before["N"]) + int(values[value]["N"]))}
        self._store(request["Key"], found, item)
        return {"Attributes": item} if request.get("ReturnValues") == "ALL_NEW" else {}

    def _DeleteItem(self, request: Any) -> Any:  # noqa: N802
        found = self._find(request["Key"])
        self._check(request, request["Key"], found, [])
        self._store(request["Key"], found, None)
        return {}

    def _BatchWriteItem(self, request: Any) -> Any:  # noqa: N802
        [(table, batch)] = request["RequestItems"].items()
        keys = [json.dumps(each["DeleteRequest"]["Key"]) for each in batch]
        if not 0 < len(keys) <= 25 or len(set(keys)) < len(keys):
            raise Refusal("ValidationException", "1 to 25 keys, each once")
        done = len(keys) if not self._busy else self._chance.randint(0, len(keys))
        for key in keys[:done]:
            self._store(json.loads(key), self._find(json.loads(key)), None)
        return {"UnprocessedItems": {table: batch[done:]} if done < len(keys) else {}}

    def _check(
        self, request: Any, key: Attributes, found: Attributes | None, used: list[str]
    ) -> None:
        """Raise a refusal if the condition does not hold, or an expression names too much."""
        names, values = _named(request)
        condition = request.get("ConditionExpression", "")
        _refuse_unused({*names, *values}, {*used, *_TOKEN.findall(condition)})
        if condition and not _test(condition)(found or {}, names, values):
            self._wrote(key, _units(found, 1))
            raise Refusal("ConditionalCheckFailedException", "", found)

    def _wrote(self, key: Attributes, units: int) -> None:
        self.writes += units
        self.places[key["pk"]["S"]] += units

    def _find(self, key: Attributes) -> Attributes | None:
        return self.items.get(key["pk"]["S"], {}).get(key["sk"]["S"])

    def _store(self, key: Attributes, found: Attributes | None, item: Attributes | None) -> None:
        where = key["pk"]["S"], key["sk"]["S"]
        if not all(where) or len(where[0].encode()) > 2048 or len(where[1].encode()) > 1024:
            raise Refusal("ValidationException", "a key is empty or too long")
        if _size(item) > LARGEST:
            raise Refusal("ValidationException", "Item size has exceeded the maximum allowed size")
        self._wrote(key, max(_units(found, 1), _units(item, 1)))
        before, after = _entry(found), _entry(item)
        if before != after:
            for part, _ in filter(None, (before, after)):
                self.index_writes += 1
                self.parts[part] += 1
            self._waiting.append((self._now() + self._lag, where, after))
        if item is None:
            self.items.get(where[0], {}).pop(where[1], None)
        else:
            kind = where[1][0]
            self.largest[kind] = max(self.largest.get(kind, 0), _size(item))
            self.items.setdefault(where[0], {})[where[1]] = item

    def _BatchGetItem(self, request: Any) -> Any:  # noqa: N802
        [(table, batch)] = request["RequestItems"].items()
        keys = batch["Keys"]
        if not 0 < len(keys) <= 100 or len({json.dumps(key) for key in keys}) < len(keys):
            raise Refusal("ValidationException", "1 to 100 keys, each once")
        done = len(keys) if not self._busy else self._chance.randint(0, len(keys))
        found = [self._find(key) for key in keys[:done]]
        self.reads += sum(_units(item, 4) for item in found)
        rest = {table: {**batch, "Keys": keys[done:]}} if done < len(keys) else {}
        there = [item for item in found if item is not None]
        return {"Responses": {table: there}, "UnprocessedKeys": rest}

    # --- many items ------------------------------------------------------------------------

    def _Query(self, request: Any) -> Any:  # noqa: N802
        names, values = _named(request)
        keys, kept = request["KeyConditionExpression"], request.get("FilterExpression", "")
        _refuse_unused({*names, *values}, {*_TOKEN.findall(keys), *_TOKEN.findall(kept)})
        found = self._entries(values) if "IndexName" in request else self._partition(values)
        if "IndexName" in request:
            self.looks += 1
            if request.get("ConsistentRead"):
                raise Refusal("ValidationException", "an index is read as it is")
        meets = _test(keys)
        matching = [item for item in found if meets(item, names, values)]
        if not request.get("ScanIndexForward", True):
            matching.reverse()
        start = request.get("ExclusiveStartKey")
        if start is not None:
            matching = list(_behind(matching, start, request))
        page, size = list[Attributes](), 0
        for item in matching[: request.get("Limit")]:
            size += _size(item)
            if page and size > PAGE:
                break
            page.append(item)
        if "IndexName" in request:  # looks are counted by themselves
            self.entries += len(page)
        else:
            self.reads += max(1, math.ceil(size / 4096))
        more = len(page) < len(matching) or len(page) == request.get("Limit")
        answer: dict[str, Any] = {
            "Items": [x for x in page if not kept or _test(kept)(x, names, values)]
        }
        if more and page:
            last = ("pk", "sk", *(("part", "due") if "IndexName" in request else ()))
            answer["LastEvaluatedKey"] = {name: page[-1][name] for name in last}
        return answer

    def _partition(self, values: Attributes) -> list[Attributes]:
        stored = self.items.get(values[":partition"]["S"], {})
        return [stored[sort] for sort in sorted(stored, key=str.encode)]

    def _entries(self, values: Attributes) -> list[Attributes]:
        """A part of the index as it is seen by now; those of one number come in any order."""
        while self._waiting and self._waiting[0][0] <= self._now():
            _, where, entry = self._waiting.popleft()
            if entry is None:
                self.index.pop(where, None)
            else:
                self.index[where] = entry
        asked = values[":part"]["S"]
        found = sorted((each for each in self.index.items() if each[1][0] == asked), key=_in_index)
        return [
            {"pk": {"S": pk}, "sk": {"S": sk}, "part": {"S": part}, "due": {"N": str(due)}}
            for (pk, sk), (part, due) in found
        ]


def _in_index(each: tuple[tuple[str, str], tuple[str, Decimal]]) -> tuple[Decimal, int, str, str]:
    (pk, sk), (_, due) = each
    # No crc32, for keys of one crc32 have one number in the index of our tables.
    return due, zlib.adler32(f"{pk}/{sk}".encode()), pk, sk


def _behind(found: list[Attributes], start: Attributes, request: Any) -> Iterator[Attributes]:
    """What comes after a key, whether or not there is an item of it."""
    forward = request.get("ScanIndexForward", True)

    def place(item: Attributes) -> Any:
        if "IndexName" in request:
            where = item["pk"]["S"], item["sk"]["S"]
            return _in_index((where, ("", Decimal(item["due"]["N"]))))
        return item["sk"]["S"].encode()

    return (x for x in found if (place(x) > place(start) if forward else place(x) < place(start)))


def _entry(item: Attributes | None) -> tuple[str, Decimal] | None:
    if item is None or "due" not in item or "part" not in item:
        return None
    return item["part"]["S"], Decimal(item["due"]["N"])


def _units(item: Attributes | None, kib: int) -> int:
    return max(1, math.ceil(_size(item) / (kib * 1024)))


def _size(item: Attributes | None) -> int:
    """As DynamoDB counts: the names, and the values."""
    return sum(len(name.encode()) + _value_size(*value.popitem()) for name, value in _copied(item))


def _copied(item: Attributes | None) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, dict(value)) for name, value in (item or {}).items())


def _value_size(letter: str, value: Any) -> int:
    if letter == "N":
        return len(str(value).lstrip("-")) // 2 + 1 + str(value).startswith("-")
    if letter == "B":
        return len(base64.b64decode(value))
    return 1 if letter == "BOOL" else len(str(value).encode())


# --- expressions ---------------------------------------------------------------------------------


def _named(request: Any) -> tuple[Mapping[str, str], Attributes]:
    names = request.get("ExpressionAttributeNames", {})
    return names, request.get("ExpressionAttributeValues", {})


def _refuse_unused(given: set[str], used: set[str]) -> None:
    if given - used:
        raise Refusal("ValidationException", f"unused in expressions: {sorted(given - used)}")


@functools.lru_cache(4096)
def _changes(expression: str) -> list[tuple[str, str, str]]:
    """The changes of an update: name, value and how."""
    found, how = [], ""
    for word, rest in re.findall(r"(SET|REMOVE|ADD) (.*?)(?= (?:SET|REMOVE|ADD) |$)", expression):
        how = word
        for each in rest.split(", "):
            name, *value = each.replace(" = ", " ").split(" ")
            found.append((name, value[0] if value else "", how))
    names = [name for name, _, _ in found]
    if len(set(names)) < len(names):
        raise Refusal("ValidationException", "two changes of one attribute")
    return found


@functools.lru_cache(4096)
def _test(expression: str) -> Test:
    """A condition as a function of an item, the names and the values."""
    tokens = _TOKEN.findall(expression)
    assert "".join(tokens) == re.sub(r"\s", "", expression), expression
    test = _either(tokens)
    assert not tokens, expression
    return test


def _either(tokens: list[str]) -> Test:
    tests = [_both(tokens)]
    while tokens[:1] == ["OR"]:
        tokens.pop(0)
        tests.append(_both(tokens))
    return lambda *given: any(test(*given) for test in tests)


def _both(tokens: list[str]) -> Test:
    tests = [_one(tokens)]
    while tokens[:1] == ["AND"]:
        tokens.pop(0)
        tests.append(_one(tokens))
    return lambda *given: all(test(*given) for test in tests)


def _one(tokens: list[str]) -> Test:
    first = tokens.pop(0)
    if first == "(":
        inner = _either(tokens)
        assert tokens.pop(0) == ")"
        return inner
    if first in ("attribute_exists", "attribute_not_exists"):
        [name] = _listed(tokens)
        there = first == "attribute_exists"
        return lambda item, names, _: (names.get(name, name) in item) is there
    if first == "begins_with":
        name, value = _listed(tokens)
        return lambda item, names, values: item[names.get(name, name)]["S"].startswith(
            values[value]["S"]
        )
    operator = tokens.pop(0)
    if operator == "IN":
        return _compared(first, _listed(tokens), lambda actual, given: actual in given)
    if operator == "BETWEEN":
        low, _, high = (tokens.pop(0) for _ in range(3))
        return _compared(first, [low, high], lambda actual, given: given[0] <= actual <= given[1])
    return _compared(first, [tokens.pop(0)], _OPERATORS[operator])


_OPERATORS: Mapping[str, Callable[[Any, list[Any]], bool]] = {
    "=": lambda actual, given: actual == given[0],
    "<": lambda actual, given: actual < given[0],
    "<=": lambda actual, given: actual <= given[0],
}


def _listed(tokens: list[str]) -> list[str]:
    assert tokens.pop(0) == "("
    found = [tokens.pop(0)]
    while tokens.pop(0) == ",":
        found.append(tokens.pop(0))
    return found


def _compared(name: str, wanted: list[str], how: Callable[[Any, list[Any]], bool]) -> Test:
    """A comparison: false for an attribute that is absent, or of another type."""

    def test(item: Attributes, names: Mapping[str, str], values: Attributes) -> bool:
        attribute = item.get(names.get(name, name))
        if attribute is None:
            return False
        [(letter, actual)] = attribute.items()
        given = [_plain(letter, values[each][letter]) for each in wanted if letter in values[each]]
        return bool(given) and how(_plain(letter, actual), given)

    return test


def _plain(letter: str, value: Any) -> Any:
    return Decimal(value) if letter == "N" else value.encode() if letter == "S" else value
