"""Links of approvals and the forms of their pages, as a browser uses them."""

from __future__ import annotations

import re
from html import unescape

BY_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def link_path(link: str) -> str:
    """The path of a link, without the address below which it lives."""
    return f"/approve/{link.partition('/approve/')[2]}"


def nonces_in(page: str) -> list[str]:
    """The nonces of a page's forms: it has one form, or none."""
    return [unescape(each) for each in re.findall(r'name="nonce" value="([^"]*)"', page)]
