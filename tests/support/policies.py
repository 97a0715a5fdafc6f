"""What the roles of a template of CloudFormation may do: enough of IAM for the policies here.

Resources have their names in the template: `Table`, `Table/index/due`, `Values/*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

_NAMED = re.compile(r"\$\{(\w+)\.Arn\}")


class Grant(NamedTuple):
    """An action that is allowed, and on what; both as patterns."""

    action: str
    resource: str

    def covers(self, action: str, resource: str) -> bool:
        """Whether it allows this."""
        return fnmatchcase(action, self.action) and fnmatchcase(resource, self.resource)


def grants(template: Mapping[str, Any], role: str) -> set[Grant]:
    """What a role may do. A statement that is more than an unconditional `Allow` is refused."""
    found = set()
    for policy in template["Resources"][role]["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement.keys() <= {"Sid", "Effect", "Action", "Resource"}, statement
            assert statement["Effect"] == "Allow", statement
            for action in _several(statement["Action"]):
                found |= {Grant(action, _name(each)) for each in _several(statement["Resource"])}
    return found


def _several(found: Any) -> Iterator[Any]:
    yield from found if isinstance(found, list) else [found]


def _name(resource: Any) -> str:
    match resource:
        case {"Fn::GetAtt": [str(name), "Arn"]}:
            return name
        case {"Fn::Sub": str(text)}:
            return _NAMED.sub(r"\1", text)
    raise AssertionError(f"a policy names {resource}")
