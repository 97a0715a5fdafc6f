"""Arguments and options that several commands have, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run.")]
Db = Annotated[str | None, typer.Option(help="The database (REWAKE_DB, .rewake/rewake.db).")]
Url = Annotated[
    str | None, typer.Option("--server", help="The server (REWAKE_SERVER, http://127.0.0.1:8000).")
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="So many at most.")]
Label = Annotated[str | None, typer.Option(help="name=value; several with commas.")]
Cursor = Annotated[str | None, typer.Option(help="Go on from here.")]
Since = Annotated[str | None, typer.Option(help="Then or later (2h, 7d, a time).")]
ApprovalKey = Annotated[
    str | None, typer.Argument(help="Which approval, where it waits for several.")
]
Value = Annotated[str | None, typer.Option(help="What is filled in, as JSON.")]
Comment = Annotated[str | None, typer.Option(help="Kept with the decision.")]
Source = Annotated[str, typer.Argument(metavar="APP", help="app.py, app.py:main or package:main")]
Input = Annotated[str | None, typer.Option(help="The arguments by name, as a JSON object.")]
InputFile = Annotated[str | None, typer.Option(help="A file with them; - is stdin.")]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for the end.")]
DiscardCleanup = Annotated[
    bool, typer.Option("--discard-cleanup", help="Forget what succeeded after the error.")
]
