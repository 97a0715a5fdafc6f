"""A person decides in a real browser: by mouse, by keyboard, on a phone, without scripts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from rewake.pages import CSP, done, gone, page, parse, refused
from rewake.pages.patterns import browser_pattern
from tests.pages.conftest import DESKTOP, PHONE, Opens
from tests.support.deciding import ASKED_AT, EVERY_KIND, Desk, asked

EVERY = pytest.mark.parametrize("desk", [asked(EVERY_KIND)], indirect=True, ids=["every"])

TYPED = {
    "Largest amount, EUR": "412.80",
    "Count": "3",
    "Cost centre": "FI-100",
    "Reason (optional)": "Closed <early>\n& open",
    "Tell whom (optional)": "eve@example.com",
    "Posting date": "2026-11-30",
    "Not before (optional)": "2026-11-30T14:30",
    "Each day at (optional)": "08:15",
    "Tags (optional)": "month\nthis is far too long",
    "Name": "Eve Ärlich",
    "Anything else (optional)": '{"note": ',
    "Comment (optional)": "As we said.",
}

ANSWER = {
    "amount": 412.8,
    "count": 3,
    "cost_centre": "FI-100",
    "reason": "Closed <early>\n& open",
    "carry": "sum",
    "account": "1400",
    "urgent": False,
    "read": True,
    "seen": False,
    "mail": "eve@example.com",
    "day": "2026-11-30",
    "moment": "2026-11-30T14:30:00Z",
    "at": "08:15:00",
    "ledgers": ["general", "receivable"],
    "tags": ["month", "short"],
    "contact": {"name": "Eve Ärlich", "phone": None},
    "more": {"note": 1},
}


def fill(shown: Page) -> None:
    """Fills every kind of field, two of them wrongly in a way that no browser checks."""
    for label, text in TYPED.items():
        shown.get_by_label(label, exact=True).fill(text)
    shown.get_by_role("group", name="Carry over as").get_by_label("One sum").check()
    shown.get_by_label("Account").select_option("1400")
    shown.get_by_label("I have read the list of postings").check()
    shown.get_by_role("group", name="Seen by audit").get_by_label("No", exact=True).check()
    for ledger in ("receivable", "general"):
        shown.get_by_role("group", name="Ledgers").get_by_label(ledger).check()


def expect_all_kept(shown: Page) -> None:
    """What was typed and chosen stands where it was."""
    for label, text in TYPED.items():
        expect(shown.get_by_label(label, exact=True)).to_have_value(text)
    expect(shown.get_by_label("One sum")).to_be_checked()
    expect(shown.get_by_label("Account")).to_have_value("1400")
    expect(shown.get_by_label("I have read the list of postings")).to_be_checked()
    expect(shown.get_by_label("Post it today")).not_to_be_checked()
    expect(shown.get_by_label("No", exact=True)).to_be_checked()
    expect(shown.get_by_label("general")).to_be_checked()
    expect(shown.get_by_label("payable")).not_to_be_checked()


@EVERY
@pytest.mark.parametrize(
    "options",
    [{}, {"viewport": PHONE, "java_script_enabled": False, "has_touch": True}],
    ids=["desktop", "phone without scripts"],
)
def test_every_kind_of_field_is_filled_refused_and_accepted(
    desk: Desk, opens: Opens, options: dict[str, Any]
) -> None:
    """Errors come back beside their fields with all that was typed; mended, the answer is exact."""
    shown = opens(**options)
    shown.goto(desk.address)
    fill(shown)
    shown.get_by_role("button", name="Approve").click()

    summary = shown.get_by_role("alert")
    expect(summary).to_be_focused()
    expect(summary.get_by_role("listitem")).to_have_text(
        [
            "Tags: Line 2: Enter at most 12 characters; these are 20.",
            re.compile("Anything else: This is no JSON: .*"),
        ]
    )
    assert shown.title().startswith("Error: ")
    assert desk.decided == []
    expect_all_kept(shown)

    tags = shown.get_by_label("Tags (optional)")
    expect(tags).to_have_attribute("aria-invalid", "true")
    expect(tags).to_have_accessible_description(
        "Error: Line 2: Enter at most 12 characters; these are 20. One a line."
    )
    summary.get_by_role("link", name="Tags").click()
    expect(tags).to_be_focused()
    tags.fill("month\n\n short ")
    shown.get_by_label("Anything else (optional)").fill('{"note": 1}')
    shown.get_by_role("button", name="Approve").click()

    expect(shown.locator("h1 + .pill")).to_have_text("Approved")
    expect(shown.locator("dl")).to_contain_text("As we said.")
    assert desk.decided == [("approve", ANSWER, "As we said.")]


@EVERY
def test_a_rejection_needs_no_answer(desk: Desk, opens: Opens) -> None:
    """Whoever says no need not fill in what they say no to; the comment goes along."""
    shown = opens()
    shown.goto(desk.address)
    shown.get_by_label("Comment").fill("Not this month.")
    shown.get_by_role("button", name="Reject").click()
    expect(shown.locator("h1 + .pill")).to_have_text("Rejected")
    assert desk.decided == [("reject", None, "Not this month.")]


@EVERY
def test_the_browser_says_at_once_what_it_can_check(desk: Desk, opens: Opens) -> None:
    """Bounds, patterns and what is required are checked before anything is sent."""
    shown = opens()
    shown.goto(desk.address)
    for label, wrong, right in (
        ("Largest amount, EUR", "500.01", "499.99"),
        ("Count", "0", "1"),
        ("Cost centre", "FI", "FI-1"),
        ("Tell whom (optional)", "eve", "eve@example.com"),
        ("Posting date", "", "2026-11-30"),
    ):
        field = shown.get_by_label(label, exact=True)
        for text, is_valid in ((wrong, False), (right, True)):
            field.fill(text)
            assert field.evaluate("each => each.checkValidity()") is is_valid, (label, text)
    shown.get_by_role("button", name="Approve").click()
    assert desk.posted == []


KEYS = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer", "title": "Amount"},
        "why": {"type": "string", "title": "Why"},
        "how": {"enum": ["cash", "card"], "title": "How"},
        "sure": {"type": "boolean", "title": "Sure"},
    },
    "required": ["amount", "why", "how"],
}


@pytest.mark.parametrize(
    "desk", [asked(KEYS, description="Read this.")], indirect=True, ids=["keys"]
)
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_keyboard_is_enough(desk: Desk, opens: Opens, scripts: bool) -> None:
    """Tab goes through the form in order; Enter decides on a button, and nothing in a field."""
    shown = opens(java_script_enabled=scripts)
    shown.goto(desk.address)
    press = shown.keyboard.press
    order = ["Amount", "Why", "cash", "Sure", "Comment (optional)", "Approve", "Reject"]
    for name in order:
        press("Tab")
        expect(shown.locator(":focus")).to_have_accessible_name(name)
    for _ in order[:-1]:
        press("Shift+Tab")
    shown.keyboard.type("30")
    press("Enter")
    press("Tab")
    shown.keyboard.type("lunch")
    press("Enter")
    press("Tab")
    press("Space")
    press("ArrowDown")
    press("Tab")
    press("Space")
    press("Tab")
    press("Tab")
    assert desk.posted == []
    press("Enter")
    expect(shown.locator("h1 + .pill")).to_have_text("Approved")
    answer = {"amount": 30, "why": "lunch", "how": "card", "sure": True}
    assert desk.decided == [("approve", answer, "")]


WRONG = {"value.amount": ["612.50"], "value.more": ["{"], "comment": ["kept"]}
LONG = "long" * 60

PAGES = {
    "open": page(asked(EVERY_KIND), post_to="/", nonce="n"),
    "error": page(
        asked(EVERY_KIND),
        post_to="/",
        nonce="n",
        values=WRONG,
        errors=parse(EVERY_KIND, WRONG)[1] | {"nonce": "The page was open for too long."},
    ),
    "done": done(asked(), decision="approved", by="ann@example.com", at=ASKED_AT, comment="Ok."),
    "rejected": done(asked(), decision="rejected", by="bob@example.com", at=ASKED_AT, comment=""),
    "gone": gone("Its time was over on Monday."),
    "refused": refused("This link is not genuine", "It may have been cut on its way."),
    "long": page(
        asked(
            {
                "type": "object",
                "properties": {
                    LONG[:200]: {"type": "string", "description": LONG},
                    "group": {
                        "type": "object",
                        "title": LONG,
                        "properties": {"a": {"enum": [LONG, "b"]}, "b": {"enum": [*"abcde", LONG]}},
                    },
                },
            },
            **dict.fromkeys(("title", "description", "run", "workflow", "approver"), LONG),
            others=[(LONG, LONG)],
        ),
        post_to="/",
        nonce="n",
    ),
}


def show(shown: Page, html: str) -> None:
    """Shows a page with its policy, from no server."""
    shown.route(
        "**/*",
        lambda route: route.fulfill(
            body=html,
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": CSP},
        ),
    )
    shown.goto("http://pages.test/")


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"]
)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(opens: Opens, name: str, viewport: Any, scheme: str) -> None:
    """No page has a fault that axe-core knows: names, roles, order, contrast."""
    shown = opens(viewport, color_scheme=scheme)
    show(shown, PAGES[name])
    found = Axe().run(shown).response
    assert found["violations"] == []
    assert len(found["passes"]) > 10


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_screen(opens: Opens, name: str) -> None:
    """There is nothing to scroll sideways for, whatever is told, and what one presses is large."""
    shown = opens()
    show(shown, PAGES[name])
    pressed = "button:not([hidden]), select, .field > input, .box label"
    for width in (320, 360, 768, 1440):
        shown.set_viewport_size({"width": width, "height": 700})
        assert shown.evaluate("document.documentElement.scrollWidth") == width
        heights = f"[...document.querySelectorAll('{pressed}')].map(e => e.offsetHeight)"
        assert min(shown.evaluate(heights), default=40) >= 40


def test_the_look_follows_the_system(opens: Opens) -> None:
    """Dark where the system is dark; and nothing ever moves."""
    grounds = set()
    for scheme in ("light", "dark"):
        shown = opens(color_scheme=scheme, reduced_motion="reduce")
        show(shown, PAGES["error"])
        grounds.add(shown.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert shown.evaluate("document.getAnimations().length") == 0
        moving = (
            "[...document.querySelectorAll('*')].map(e => getComputedStyle(e).transitionDuration)"
        )
        assert set(shown.evaluate(moving)) == {"0s"}
    assert grounds == {"rgb(244, 246, 249)", "rgb(15, 18, 23)"}


def test_markup_that_came_in_somehow_could_do_nothing(browser: Browser) -> None:
    """The policy stands behind the escaping: no script runs, nothing is styled, loaded or sent."""
    markup = (
        "<script>document.title = 'hacked'</script><img src='https://evil.test/x.png' "
        "onerror=\"document.title = 'hacked'\"><style>h1 { display: none }</style>"
        "<base href='https://evil.test/'><form action='https://evil.test/'></form>"
    )
    shown = browser.new_page()
    show(shown, PAGES["gone"].replace("<main>", f"<main>{markup}"))
    found = shown.evaluate(
        """async () => {
            const refused = new Promise(told => addEventListener(
                "securitypolicyviolation", event => told(event.effectiveDirective)));
            document.querySelector("form").submit();
            const shown = getComputedStyle(document.querySelector("h1")).display;
            return [await refused, document.title, document.baseURI, shown];
        }"""
    )
    title = "This link is no longer open – Rewake"
    assert found == ["form-action", title, "http://pages.test/", "block"]
    shown.context.close()


PATTERNS = [
    "^[A-Z]{2}-[0-9]+$",
    "^[\\w.-]+@[\\w-]+\\.[a-z]{2,}$",
    "^a|b$",
    "foo",
    "^(?:x|y)*?z$",
    "^[^/]+/[^/]+$",
    "^[a-z0-9_-]{3,16}$",
    "^\\+?\\d{1,3}([ -]?\\d+)*$",
    "^[()&!-]+$",
    "^\\-\\@$",
    "^(?!no).*$",
    "^\\$\\d+\\.\\d\\d$",
]
TEXTS = [
    *("", "AB-1", "ab-1", "a", "b", "ab", "xfoo", "foo", "xyz", "z", "a/b", "a/b/c", "no", "nope"),
    *("yes", "x_y-9", "+49 30-1", "49x", "(&)", "!-", "-@", "5", "-", "x", "$12.50", "a.b@c-d.eu"),
]


def test_a_pattern_means_the_same_to_the_browser(opens: Opens) -> None:
    """What the browser lets through by its attribute is exactly what the server accepts."""
    shown = opens()
    show(shown, PAGES["gone"])
    written = {pattern: browser_pattern(pattern) for pattern in PATTERNS}
    assert None not in written.values()
    for pattern, attribute in written.items():
        found = shown.evaluate(
            "([p, texts]) => { const r = new RegExp(`^(?:${p})$`, 'v'); "
            "return texts.map(each => r.test(each)); }",
            [attribute, TEXTS],
        )
        assert found == [re.search(pattern, each) is not None for each in TEXTS], pattern


@pytest.mark.parametrize(
    "pattern",
    ["(?P<n>a)", "(?i)a", "[!-~]", "[é-ü]", "a{,3}", "\\Aa\\Z", "[", "a++", "[]a]", "(a)\\1"],
)
def test_a_pattern_that_a_browser_reads_otherwise_is_not_given_to_it(pattern: str) -> None:
    """Better no check in the browser than another one."""
    assert browser_pattern(pattern) is None


def test_a_link_allows_only_its_action() -> None:
    """A link to approve has no button to reject, and one to reject asks nothing but a comment."""
    buttons = {
        action: re.findall(
            r'name="decision" value="(\w+)"',
            page(asked(KEYS, action=action), post_to="/", nonce="n"),
        )
        for action in ("", "approve", "reject")
    }
    assert buttons == {
        "": ["approve", "reject"],
        "approve": ["approve"],
        "reject": ["reject"],
    }
    assert "value.amount" not in page(asked(KEYS, action="reject"), post_to="/", nonce="n")
