"""Named texts of a request: its headers, its query, the fields of its form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


class Fields(Mapping[str, str]):
    """Texts by name; of a name that was given several times, the first.

    `folded`: names are compared without regard to case, as those of headers are.
    """

    __slots__ = ("_folded", "_named")

    def __init__(self, pairs: Iterable[tuple[str, str]] = (), *, folded: bool = False) -> None:
        self._folded = folded
        self._named: dict[str, list[str]] = {}
        for name, text in pairs:
            self._named.setdefault(self._key(name), []).append(text)

    def all(self, name: str) -> list[str]:
        """Every text of this name, in order."""
        return list(self._named.get(self._key(name), ()))

    def pairs(self) -> list[tuple[str, str]]:
        """Each text with its name."""
        return [(name, text) for name, texts in self._named.items() for text in texts]

    def __getitem__(self, name: str) -> str:
        return self._named[self._key(name)][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def __repr__(self) -> str:
        return f"<Fields {', '.join(self._named)}>"  # what they hold may be secret

    def _key(self, name: str) -> str:
        return name.lower() if self._folded else name
