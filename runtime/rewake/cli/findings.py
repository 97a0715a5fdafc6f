"""What `rewake doctor` found, as it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rewake.cli.exits import Exit
from rewake.cli.output import write_json
from rewake.doctor.findings import Finding, Status


def show_findings(found: Sequence[Finding], *, json: bool) -> Exit:
    """Write a line for each, or one document; the exit code says whether anything is wrong."""
    if json:
        write_json({"findings": [msgspec.to_builtins(each) for each in found]})
    else:
        width = max(len(each.check) for each in found)
        for each in found:
            line = f"{each.status:<4}  {each.check:<{width}}  {_plain(each.told)}"
            print(f"{line}: {_plain(each.do)}" if each.do else line)
    return Exit.FAILED if any(each.status is Status.FAIL for each in found) else Exit.DONE


def _plain(text: str) -> str:
    """The text in one line, in which nothing can move a terminal's cursor."""
    words = " ".join(text.split())
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in words)
