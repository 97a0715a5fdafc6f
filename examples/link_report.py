"""Report on a list of links: fetch them, wait for a person's word, save what was found.

Serve it with `rewake dev examples/link_report.py`, or run it to the end right here:

    rewake run examples/link_report.py:main --input '{"urls": ["https://example.com"]}'
"""

from __future__ import annotations

import os
import re
import sqlite3
import urllib.request
from contextlib import closing
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import TypedDict
from urllib.error import HTTPError

from rewake import (
    NonRetryable,
    TaskError,
    parallel,
    sleep,
    step,
    task,
    task_context,
    wait_for_approval,
    workflow,
)


class Page(TypedDict):
    url: str
    status: int
    html: str


class Row(TypedDict):
    url: str
    status: int
    title: str
    links: int


@task(retries=3, delay=0.5, timeout=timedelta(seconds=30))
def fetch(url: str) -> Page:
    if not url.startswith(("http://", "https://")):
        raise NonRetryable(f"{url} is not a web address")
    request = urllib.request.Request(url, headers={"User-Agent": "link-report"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
            html = response.read(1_000_000).decode(errors="replace")
    except HTTPError as error:
        if error.code >= 500:
            raise  # it may be better next time
        return {"url": url, "status": error.code, "html": ""}
    task_context().logger.info("fetched %s: %d characters", url, len(html))
    return {"url": url, "status": response.status, "html": html}


@task(retries=3)
def save(report: str, rows: list[Row]) -> int:
    """Saving twice changes nothing, so that this task may be tried again."""
    path = Path(os.environ.get("LINK_REPORT_DB", "link_report.db"))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS links"
            "(report TEXT, url TEXT, status INT, title TEXT, links INT, PRIMARY KEY(report, url))"
        )
        database.executemany(
            "INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?, ?)",
            [(report, row["url"], row["status"], row["title"], row["links"]) for row in rows],
        )
    return len(rows)


def summarize(page: Page) -> Row:
    found = re.search(r"<title[^>]*>(.*?)</title>", page["html"], re.IGNORECASE | re.DOTALL)
    title = unescape(found.group(1)).strip() if found else ""
    links = len(re.findall(r"<a\s[^>]*href", page["html"], re.IGNORECASE))
    return {"url": page["url"], "status": page["status"], "title": title, "links": links}


def new_report() -> str:
    return task_context().idempotency_key[:8]


@workflow
async def main(urls: list[str], pause: float = 2.0) -> dict[str, object]:
    async def one(url: str) -> Row:
        try:
            page = await fetch(url)
        except TaskError as error:  # after all its attempts; a report tells of dead links too
            return {"url": url, "status": 0, "title": str(error), "links": 0}
        return await task(lambda: summarize(page))  # a closure travels to a task of its own

    rows = await parallel(urls, one, concurrency=5)  # the next starts when any one ends
    report = await step("name the report", new_report)  # runs here; its result is kept
    await sleep(pause)  # nothing is running
    approval = await wait_for_approval(
        description=f"Save {len(rows)} links as report {report}?", timeout=timedelta(days=2)
    )
    if not approval.approved:
        return {"report": report, "decision": approval.decision, "saved": 0}
    return {"report": report, "decision": approval.decision, "saved": await save(report, rows)}
