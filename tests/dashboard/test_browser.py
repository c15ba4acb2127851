"""The page in a real browser: it runs nothing foreign, stays usable, and keeps strangers out.

Needs the package playwright and a Chromium on PATH (Debian: apt-get install chromium).
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright import sync_api as playwright

from klaviyo_relay_worker.dashboard.groups import Heads, groups_of
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.outcome import Failure
from programs import found

CHROMIUM = found("chromium", "chromium-browser", "google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on PATH")

LANE = "default:events"
REBOUND = "rebound.io"
ARGUMENTS = [
    # As root Chromium has no sandbox of its own; all that it sees here is ours.
    "--no-sandbox",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
]
SECRET = "correct-horse-battery"
HOSTILE = "<script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
# Every text that is seen, with the contrast to what is behind it (WCAG 2.2, relative luminance).
CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !one.checkVisibility() || one.closest("title")) continue;
    const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))].sort();
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data.trim()]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def tab_of(chromium):
    """Opens tabs, and sees to it that no script or style of theirs fails or is refused."""
    contexts, complaints = [], []

    def open_tab(url="about:blank", **how):
        context = chromium.new_context(**how)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "console",
            lambda said: complaints.append(said.text) if "Content Security" in said.text else None,
        )
        tab.goto(url)
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def strangers_page():
    """Serves one page of somebody else's; set its text in `html`."""

    class Page(BaseHTTPRequestHandler):
        html = ""

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(Page.html.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        Page.port = server.server_address[1]
        yield Page
        server.shutdown()
        thread.join()


def test_a_group_is_redriven_by_three_clicks(dashboard, stock, tab_of):
    stock.die(3)
    tab = tab_of(dashboard.url)
    tab.get_by_role("button", name="Redrive the 3 dead letters invalid").click()
    playwright.expect(tab.get_by_text("3 dead letters")).to_be_visible()
    tab.get_by_role("button", name="Redrive 3").click()
    assert "3 commands" in tab.get_by_role("status").inner_text()
    assert stock.numbers() == {"backlog": 3}


def test_a_letter_is_looked_at_and_discarded_with_the_keyboard_alone(dashboard, stock, tab_of):
    stock.die(1)
    tab = tab_of(dashboard.url)

    def go_to(name):
        for _ in range(60):
            tab.keyboard.press("Tab")
            focused = tab.locator(":focus")
            label = focused.get_attribute("aria-label") or focused.inner_text()
            if label.startswith(name):
                assert focused.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
                with tab.expect_navigation():
                    tab.keyboard.press("Enter")
                return
        raise AssertionError(name)

    go_to("Look at the 1 dead letters")
    go_to("Show the command")
    playwright.expect(tab.get_by_text("p0@shop.io")).to_be_visible()
    go_to("Discard")
    go_to("Discard 1")
    assert "discard" in tab.get_by_role("status").inner_text()
    assert stock.numbers() == {"discarded": 1}


def test_the_first_thing_on_the_keyboards_way_leads_past_the_head(dashboard, tab_of):
    tab = tab_of(dashboard.url)
    tab.keyboard.press("Tab")
    assert tab.locator(":focus").inner_text() == "Skip to the content"


def test_markup_in_dead_letters_does_not_run(dashboard, stock, tab_of):
    failure = Failure(status=400, code=HOSTILE, title=HOSTILE, detail=HOSTILE, pointer=HOSTILE)
    stock.die(1, failure, properties={HOSTILE: HOSTILE})
    tab = tab_of(dashboard.url)
    group = groups_of(Heads(stock.redis, stock.keys).scan(LANE, 1))[0].cause.name
    tab.evaluate("refresh()")
    assert tab.evaluate("window.hacked") is None
    tab.goto(f"{dashboard.url}/letters?lane={LANE}&group={group}")
    tab.get_by_role("button", name="Show the command").click()
    assert HOSTILE in tab.locator("pre").inner_text()
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("main img, main script").count() == 0


def test_the_policy_stops_a_script_that_got_in_all_the_same(dashboard, chromium):
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto(dashboard.url)
    tab.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'window.hacked=1';"
        " document.body.append(one); }"
    )
    assert tab.evaluate("window.hacked") is None
    context.close()


def test_the_numbers_change_by_themselves_and_leave_a_person_in_peace(dashboard, stock, tab_of):
    stock.wait(1)
    tab = tab_of(dashboard.url)
    tab.get_by_text("All counts of default").click()
    button = tab.get_by_role("button", name="Pause the lane default:events")
    button.focus()
    stock.wait(41)
    playwright.expect(tab.locator('td[data-label="Backlog"]')).to_have_text("42", timeout=15_000)
    assert tab.locator("details").get_attribute("open") is not None
    assert button.evaluate("one => one === document.activeElement")


def test_a_person_can_stop_that(dashboard, stock, tab_of, until):
    stock.wait(1)
    tab = tab_of(dashboard.url)
    toggle = tab.get_by_role("button", name="Live")
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "false"
    stock.wait(41)
    until(lambda: ">42<" in dashboard.get("/live").text)
    tab.evaluate("refresh()")
    assert tab.locator('td[data-label="Backlog"]').inner_text() == "1"
    toggle.click()
    playwright.expect(tab.locator('td[data-label="Backlog"]')).to_have_text("42")


def test_redis_away_is_said_and_goes_by_itself(dashboard_of, tab_of):
    with PrivateRedis() as server:
        dashboard = dashboard_of(server.url)
        tab = tab_of(dashboard.url)
        heading = tab.locator("#verdict")
        server.stop()
        playwright.expect(heading).to_contain_text("Redis does not answer", timeout=20_000)
        server.start()
        playwright.expect(heading).to_contain_text("All is well", timeout=20_000)


def test_it_works_without_its_script(dashboard, stock, tab_of):
    stock.wait(1)
    tab = tab_of(dashboard.url, java_script_enabled=False)
    tab.locator("#pause-default").click()
    tab.locator("main button").click()
    playwright.expect(tab.get_by_role("status")).to_have_text("Done: pause default.")
    assert stock.is_paused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(dashboard, stock, tab_of, scheme):
    stock.die(2)
    stock.wait(2)
    stock.redis.hset(stock.keys.lane("default", "events").state, "paused", "1")
    tab = tab_of(dashboard.url, color_scheme=scheme)
    contrasts = tab.evaluate(CONTRASTS)
    assert len(contrasts) > 30
    assert [one for one in contrasts if one[0] < 4.5] == []


@pytest.mark.parametrize("width", [320, 390, 960])
def test_a_telephone_shows_all_of_it_and_can_be_hit_with_a_thumb(dashboard, stock, tab_of, width):
    stock.die(2)
    stock.wait(2)
    tab = tab_of(dashboard.url, viewport={"width": width, "height": 800}, has_touch=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    low = tab.evaluate(
        "[...document.querySelectorAll('main button, main a.button')]"
        ".filter((one) => one.offsetHeight < 44).map((one) => one.outerHTML)"
    )
    assert low == []


def test_everything_has_a_name(dashboard, stock, tab_of):
    stock.die(2)
    tab = tab_of(dashboard.url)
    assert tab.locator("html").get_attribute("lang") == "en"
    snapshot = tab.locator("body").aria_snapshot()
    assert [
        line
        for line in snapshot.splitlines()
        if line.strip() in ("- button", "- link", "- img", "- meter", "- textbox")
    ] == []
    assert f'img "{LANE}: 0 delivered in the last hour' in snapshot
    names = tab.locator("main button, main a.button").evaluate_all(
        "all => all.map((one) => one.ariaLabel)"
    )
    assert len(set(names)) == len(names), "two buttons that do different things are told apart"


def test_signing_in_and_out(dashboard_of, redis_url, stock, tab_of):
    stock.wait(1)
    dashboard = dashboard_of(redis_url, token=SECRET)
    tab = tab_of(dashboard.url)
    tab.get_by_label("Token").fill("wrong")
    tab.keyboard.press("Enter")
    assert "This is not the token" in tab.get_by_role("alert").inner_text()
    tab.get_by_label("Token").fill(SECRET)
    tab.keyboard.press("Enter")
    playwright.expect(tab.get_by_role("heading", name="Account default")).to_be_visible()
    assert tab.evaluate("document.cookie") == ""
    [cookie] = tab.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    tab.get_by_role("button", name="Sign out").click()
    playwright.expect(tab.get_by_label("Token")).to_be_visible()


# "localhost" is another site than 127.0.0.1; another port of 127.0.0.1 only another origin.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_strangers_page_can_send_nothing_even_with_a_stolen_form_token(
    dashboard, stock, tab_of, strangers_page, host
):
    stock.wait(1)
    strangers_page.html = (
        f'<form method="post" action="{dashboard.url}/pause">'
        f'<input name="form_token" value="{dashboard.form_token()}">'
        '<input name="account" value="default"><button>Win a prize</button></form>'
    )
    tab = tab_of(f"http://{host}:{strangers_page.port}/")
    tab.get_by_role("button").click()
    assert "another site" in tab.locator("body").inner_text()
    assert not stock.is_paused()


def test_a_strangers_page_can_frame_nothing(dashboard, stock, chromium, strangers_page):
    stock.wait(1)
    strangers_page.html = f'<iframe src="{dashboard.url}/"></iframe>'
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto(f"http://127.0.0.1:{strangers_page.port}/")
    assert tab.frames[1].locator("#verdict").count() == 0
    context.close()


def test_a_name_that_was_made_to_point_here_sees_nothing(dashboard, chromium):
    context = chromium.new_context()
    tab = context.new_page()
    answer = tab.goto(f"http://{REBOUND}:{dashboard.address.rpartition(':')[2]}/")
    assert answer.status == 421
    assert tab.locator("#verdict").count() == 0
    context.close()
