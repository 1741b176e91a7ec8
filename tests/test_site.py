"""The built site, looked at as its readers do: on a phone, and where there is no network."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ViewportSize

ROOT = Path(__file__).parent.parent
PHONE = ViewportSize(width=390, height=844)
LINK = re.compile(r'<a [^>]*href="([^"]+)"')
# Addresses in examples, of servers that readers start themselves.
OWN = {"127.0.0.1", "localhost"}

pytestmark = pytest.mark.checkout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--fail-on-warning", "--doctree-dir", str(folder / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder / "html")]
    build = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert build.returncode == 0, build.stderr
    return folder / "html"


def _pages(site: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(site.rglob("*.html")):
        yield str(path.relative_to(site)), path.read_text()


@pytest.mark.browser
def test_no_page_is_wider_than_a_phone_nor_asks_another_host_for_anything(site: Path, browser: Browser) -> None:
    page = browser.new_page(viewport=PHONE, reduced_motion="reduce")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    widths: dict[str, int] = {}
    for path in sorted(site.rglob("*.html")):
        page.goto(path.as_uri())
        widths[str(path.relative_to(site))] = page.evaluate("document.documentElement.scrollWidth")
    assert len(widths) > 20
    assert {name: width for name, width in widths.items() if width > PHONE["width"]} == {}
    assert [url for url in asked if not url.startswith(("data:", site.as_uri()))] == []


def test_links_to_other_sites_are_https(site: Path) -> None:
    links = {unescape(link) for _, text in _pages(site) for link in LINK.findall(text)}
    others = [urlsplit(link) for link in links if urlsplit(link).scheme and urlsplit(link).hostname not in OWN]
    assert others
    assert [url.geturl() for url in others if url.scheme != "https" or "." not in (url.hostname or "")] == []


def test_what_is_hidden_in_the_sources_is_not_in_the_site(site: Path) -> None:
    assert [name for name, text in _pages(site) if "invisible-code" in text] == []


def test_no_private_module_is_in_the_reference(site: Path) -> None:
    shown = {
        name: set(re.findall(r">[^<]*\bsse_mw\._\w+", text)) for name, text in _pages(site) if "reference/" in name
    }
    assert len(shown) > 5
    assert {name: names for name, names in shown.items() if names} == {}
