"""Templates of CloudFormation, whose YAML has tags of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Reads `!Ref Table` as `{"Ref": "Table"}`, as CloudFormation does."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise TypeError(f"!{suffix} of {node}")
    if suffix == "GetAtt":
        value = value.split(".", 1)
    return {"Ref" if suffix == "Ref" else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


def read(file: Path) -> dict[str, Any]:
    """A template, as JSON says it."""
    found: dict[str, Any] = yaml.load(file.read_text(), _Loader)
    return found
