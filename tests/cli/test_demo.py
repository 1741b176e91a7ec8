"""The demo, as one sees it in a real browser."""

import itertools
import json
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from cli.launch import Run
from cli.tap import Tap
from support.client import RawClient
from support.servers import Server

pytestmark = [pytest.mark.server, pytest.mark.browser]

PROMPT = 0.1  # seconds from the moment the browser lets go until the stream has ended


@pytest.fixture
def demo(run: Run) -> Server:
    # The same demo, with pings that come sooner than one would want to watch them.
    return run("--ping-interval", "1")


@pytest.fixture
def opened(demo: Server, page: Page) -> Page:
    """The demo's page, once the streams that it starts by itself are open."""
    page.goto(demo.url)
    for stream in ("stats", "clock"):
        expect(page.locator(f"#{stream} [data-state]")).to_have_text("open")
    return page


def arrivals(page: Page, stream: str, count: int) -> list[float]:
    """Wait for so many arrivals; the seconds at which the page saw them."""
    page.wait_for_function(f"demo.streams.{stream}.marks.length >= {count}")
    seen: list[float] = page.evaluate(f"demo.streams.{stream}.marks.map(mark => mark.at / 1000)")
    return seen[:count]


def one_by_one(moments: list[float], period: float) -> bool:
    """Whether they came about a period apart. One may be late, and the next then early; a burst is neither."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    return sum(gap > period * 0.6 for gap in gaps) >= len(gaps) - 1


def start(page: Page, stream: str) -> None:
    page.locator(f"#{stream} [data-toggle]").click()


def stats(client: RawClient) -> dict[str, Any]:
    """The last count that this client has been sent."""
    blocks = [block for block in client.body.split(b"\n\n") if block.startswith(b"data: ")]
    found: dict[str, Any] = json.loads(blocks[-1].removeprefix(b"data: "))
    return found


def test_by_itself_a_tab_holds_two_connections_of_the_six(opened: Page) -> None:
    expect(opened.locator("[data-held]")).to_have_text("This tab holds 2 connections.")
    for stream in ("readings", "silent", "answer"):
        expect(opened.locator(f"#{stream} [data-state]")).to_have_text("not started")
    assert "at most six" in " ".join(opened.locator("[data-protocol]").inner_text().split())


def test_the_clocks_events_arrive_one_by_one(opened: Page) -> None:
    assert one_by_one(arrivals(opened, "clock", 4), 1.0)


def test_a_silent_stream_is_open_at_once(opened: Page) -> None:
    took = min(opened.evaluate(MILLISECONDS_UNTIL_OPEN) for _ in range(3))  # other tests keep the machine busy
    assert took < 200


def test_the_silent_streams_pings_are_shown_as_they_arrive(opened: Page) -> None:
    start(opened, "silent")
    assert one_by_one(arrivals(opened, "silent", 4), 1.0)
    expect(opened.locator("#silent [data-out] .kind").first).to_have_text(": ping")
    assert opened.evaluate("demo.streams.silent.count.event") == 0


def test_the_legacy_route_is_upgraded_for_the_page_and_unchanged_for_others(demo: Server, opened: Page) -> None:
    start(opened, "readings")
    assert one_by_one(arrivals(opened, "readings", 5), 0.7)
    assert "celsius" in json.loads(opened.locator("#readings [data-out] li span").first.inner_text())
    with demo.connect().request(path="/legacy/readings") as client:
        line = client.read_until(b"\n")
    assert client.headers["content-type"] == "application/x-ndjson"
    assert line.startswith(b'{"celsius"')


def test_the_answer_to_a_post_arrives_token_by_token(opened: Page) -> None:
    opened.get_by_label("Your question").fill("Will <b>this</b> do?")
    start(opened, "answer")
    seen = arrivals(opened, "answer", 12)
    assert seen[-1] - seen[0] > 0.09 * 8  # and not in clumps:
    assert len({round(moment / 0.09) for moment in seen}) >= 8, seen
    expect(opened.locator("#answer [data-out]")).to_contain_text("instead of completed.", timeout=20_000)
    expect(opened.locator("#answer [data-out]")).to_contain_text("You asked: “Will <b>this</b> do?”")
    expect(opened.locator("#answer [data-state]")).to_have_text("complete")
    expect(opened.locator("[data-tally]")).to_contain_text("completed")


def test_stopping_a_stream_shows_in_the_count_with_its_reason(opened: Page) -> None:
    expect(opened.locator("[data-now]")).to_have_text("2")
    start(opened, "silent")
    expect(opened.locator("[data-now]")).to_have_text("3")
    start(opened, "silent")
    expect(opened.locator("[data-now]")).to_have_text("2")
    expect(opened.locator("[data-tally]")).to_contain_text("client_left")
    expect(opened.locator("[data-recent] li").first).to_contain_text("/silent")


def test_a_second_tab_is_counted_and_its_closing_too(demo: Server, opened: Page) -> None:
    expect(opened.locator("[data-now]")).to_have_text("2")
    second = opened.context.new_page()
    second.goto(demo.url)
    expect(opened.locator("[data-now]")).to_have_text("4")
    second.close()
    expect(opened.locator("[data-now]")).to_have_text("2")


def test_leaving_the_page_and_coming_back_leaves_no_stream_behind(demo: Server, opened: Page) -> None:
    with demo.connect().request(path="/stats") as client:
        client.read_until(b'{"open": 3,')
        opened.goto("about:blank")
        client.read_until(b'{"open": 1,')
        opened.go_back()
        client.read_until(b'{"open": 3,')
    expect(opened.locator("#clock [data-state]")).to_have_text("open")


def test_closing_the_tab_ends_its_streams_within_a_tenth_of_a_second(run: Run, browser: Browser) -> None:
    server = run("run_apps:noting")
    with Tap(server.address) as tap:
        tab = browser.new_page()
        tab.goto(f"http://{tap.address[0]}:{tap.address[1]}/live")
        tab.wait_for_function("got === 1")
        closing = time.monotonic()
        tab.close()
        closed = json.loads(server.wait_for_output("closed").splitlines()[-1])
        let_go = next(moment for moment in tap.let_go if moment >= closing)
    assert (closed["closed"], closed["reason"]) == ("/silent", "client_left")
    assert closed["at"] - let_go < PROMPT


def test_the_servers_count_drops_when_the_tab_closes(demo: Server, opened: Page) -> None:
    with demo.connect().request(path="/stats") as client:
        client.read_until(b'{"open": 3,')
        opened.context.close()
        client.read_until(b'{"open": 1,')
    assert stats(client)["closed"] == {"client_left": 2}


def test_the_pages_parser_is_the_standards_at_every_split(opened: Page) -> None:
    dispatched, comments = opened.evaluate(
        r"""() => {
            const wire = ": hello\r\ndata: a\rdata:b\n\nid: 7\nevent: x\ndata:  two\r\n\r\nid: 8\n\n"
                + "event: none\n\ndata\n\nid: a\0b\ndata: last\r\rdata: unfinished";
            const runs = Array.from({length: wire.length + 1}, (_, split) => {
                const events = [], comments = [];
                const parser = new demo.EventParser({
                    onEvent: ({type, data, lastEventId}) => events.push([type, data, lastEventId]),
                    onComment: text => comments.push(text),
                });
                parser.push(wire.slice(0, split));
                parser.push("");
                parser.push(wire.slice(split));
                return JSON.stringify([events, comments]);
            });
            const [only, ...others] = new Set(runs);
            return others.length ? others : JSON.parse(only);
        }"""
    )
    assert comments == ["hello"]
    assert dispatched == [
        ["message", "a\nb", ""],
        ["x", " two", "7"],
        ["message", "", "8"],
        ["message", "last", "8"],
    ]


def test_over_http_2_the_page_knows_no_limit(run: Run, browser: Browser, certificate: tuple[str, str]) -> None:
    server = run("--certfile", certificate[0], "--keyfile", certificate[1])
    with browser.new_context(ignore_https_errors=True) as context:
        tabs = [context.new_page() for _ in range(5)]  # ten streams and five pages: over HTTP/1.1 four too many
        for tab in tabs:
            tab.goto(f"https://127.0.0.1:{server.address[1]}/")
        for tab in tabs:
            expect(tab.locator("#clock [data-state]")).to_have_text("open")
            expect(tab.locator("[data-protocol]")).to_contain_text("HTTP/2")
        expect(tabs[0].locator("[data-now]")).to_have_text("10")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1360])
def test_the_page_fits_every_width_in_light_and_dark(demo: Server, browser: Browser, width: int, scheme: Any) -> None:
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(demo.url)
        expect(page.locator("#clock [data-state]")).to_have_text("open")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(246, 246, 243)") == (scheme == "light")


def test_text_has_contrast_enough_in_light_and_dark(demo: Server, browser: Browser) -> None:
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:
            page = context.new_page()
            page.goto(demo.url)
            ratios: dict[str, float] = page.evaluate(CONTRASTS)
        assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}, scheme


CONTRASTS = """() => {
    const style = getComputedStyle(document.documentElement);
    const luminance = name => {
        const hex = style.getPropertyValue(name).trim().replace(/^#(.)(.)(.)$/, "#$1$1$2$2$3$3");
        const [r, g, b] = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
            .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const pairs = ["--ink", "--soft", "--accent", "--ping", "--bad", "--string"]
        .flatMap(text => ["--page", "--card", "--code"].map(ground => [text, ground]));
    return Object.fromEntries([...pairs, ["--on-accent", "--accent"]].map(([text, ground]) => {
        const [low, high] = [luminance(text), luminance(ground)].sort((a, b) => a - b);
        return [`${text} on ${ground}`, (high + .05) / (low + .05)];
    }));
}"""

MILLISECONDS_UNTIL_OPEN = """() => new Promise((resolve, reject) => {
    const asked = performance.now(), source = new EventSource("/silent");
    source.onopen = () => { source.close(); resolve(performance.now() - asked) };
    source.onerror = () => reject(new Error("refused"));
})"""
