"""What the documentation says is so."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors_of, blocks_of, links_of, prose_of
from tests.docs.reader import POSTGRES, Reader
from tests.support.postgres import binaries
from tests.support.sampling import sampled


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page", sampled(PAGES, every=4), ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_every_code_block_works(page: Path, tmp_path: Path) -> None:
    """A reader who does what a page says, in its order, sees what it says."""
    blocks = blocks_of(page)
    if binaries() is None and any(POSTGRES in block.text for block in blocks):
        pytest.skip("no PostgreSQL server is installed")
    with Reader(tmp_path) as reader:
        for block in blocks:
            reader.read(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link inside the repository goes to a file, and to a heading, that exists."""
    for target in links_of(page):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors_of(found), f"{page.name}: {target}"


def test_the_readme_is_short() -> None:
    """The README fits about one screen, with its limits about two."""
    text = (ROOT / "README.md").read_text()

    assert len(text.splitlines()) < 120
    assert len(text.partition("## Limits")[0].splitlines()) < 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_said_twice(page: Path) -> None:
    """No line of a page's text stands on it twice, as after two changes that both added it."""
    lines = [line.strip() for line in prose_of(page).splitlines()]
    said = [line for line in lines if len(line) > 60 and not line.startswith("`tests/")]

    assert sorted(said) == sorted(set(said))


def test_no_page_tells_of_the_machine_it_was_written_on() -> None:
    """Pages have no paths of a certain machine."""
    for page in PAGES:
        assert not re.search(r"/(work|root|home)/", page.read_text()), page.name


def test_the_glossary_is_in_order() -> None:
    """Each word of the glossary has one entry, where the alphabet has it."""
    users = (ROOT / "docs" / "glossary.md").read_text().split("## Words of the code")[0]
    words = re.findall(r"^\*\*(.+?)\.?\*\*", users, flags=re.MULTILINE)

    assert words == sorted(set(words), key=str.lower)


def test_each_folder_of_tests_has_a_row() -> None:
    """The table of what the tests prove names every folder of tests."""
    table = (ROOT / "tests" / "README.md").read_text()
    for folder in (ROOT / "tests").iterdir():
        if any(folder.glob("*.py")):
            assert f"`{folder.name}/`" in table, folder.name
