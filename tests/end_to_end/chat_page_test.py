"""The chat page in a headless browser: a conversation, its picture, and nothing in the browser's log."""
import json
import os
import re
import time

import pytest
from playwright.sync_api import sync_playwright

from http_server import HttpServer

PICTURE = "document.getElementById('picture').toDataURL()"


@pytest.fixture(scope="module", name="server")
def _server():
    # A cache that is full after a few sentences, so that there is something to forget.
    server = HttpServer("--cache-tokens", "256", "--sub-caches", "4", "--cache-memory-bytes", "64MiB")
    yield server
    server.close()


@pytest.fixture(scope="module", name="browser")
def _browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CASCADE_BROWSER"], args=["--no-sandbox"])
        yield browser
        browser.close()


class Page:
    """A page whose log is kept. `extra`: more fields of its chat requests."""

    def __init__(self, browser, server, extra=None, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.log, self.requests = [], []
        self.page.on("console", lambda message: self.log.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.log.append(f"error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.server = server
        if extra:
            self.page.route("**/v1/chat/completions", lambda route: route.continue_(
                post_data=json.dumps({**json.loads(route.request.post_data), **extra})))
        self.page.goto(server.url)
        self.wait(lambda: self.page.text_content("#model") == "tiny")

    def wait(self, condition):
        # The page's policy forbids what playwright's own waiting for a condition does.
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.page.text_content("#status")
            time.sleep(0.005)

    def set(self, field, value):
        self.page.evaluate("document.getElementById('settings').open = true")
        self.page.fill(field, value)
        self.page.evaluate("document.getElementById('settings').open = false")

    def say(self, text):
        """Returns when the reply runs, or has ended already."""
        turns = self.page.locator(".turn.user").count()
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")
        self.wait(lambda: self.page.locator(".turn.user").count() == turns + 1)

    def wait_for_status(self, begin):
        self.wait(lambda: self.page.text_content("#status").startswith(begin))

    def number(self, name):
        return int(re.sub(r"\D", "", self.page.text_content(f"#{name}")))

    def close(self):
        assert self.log == []
        assert all(url.startswith(self.server.url) for url in self.requests), self.requests
        self.context.close()


def test_a_conversation(browser, server):
    # Long enough to be looked at while it runs.
    extra = {"ignore_eos": True}
    page = Page(browser, server, extra, viewport={"width": 1000, "height": 800})
    page.set("#max-tokens", "20000")
    page.say("Hello <b>there</b> & \"you\"")
    page.wait(lambda: page.number("seen") > 40)
    before, seen = page.page.evaluate(PICTURE), page.number("seen")
    page.wait(lambda: page.number("seen") > seen + 20)
    assert page.page.evaluate(PICTURE) != before  # it moves while the model talks
    page.wait_for_status("Reply complete")
    # Text, not markup.
    assert page.page.text_content(".turn.user span:last-child") == "Hello <b>there</b> & \"you\""
    assert page.page.text_content(".turn.assistant span:last-child")
    extra.clear()
    page.set("#max-tokens", "50")
    for _ in range(3):
        page.say("And then?")
        page.wait_for_status("Reply complete")
    page.wait(lambda: page.number("seen") == page.number("held") + page.number("forgotten"))
    assert page.number("forgotten") > 0
    assert "sub-cache 4 holds" in page.page.text_content("#memory-text")
    assert page.page.locator(".turn").count() == 8
    # The session outlives a reload, and so does what is shown.
    seen = page.number("seen")
    page.page.reload()
    page.wait(lambda: page.number("seen") == seen)
    assert page.page.locator(".turn").count() == 8
    page.page.click("#new-chat")
    page.wait(lambda: page.number("seen") == 0)
    assert page.page.locator(".turn").count() == 0
    page.close()


def test_stop_ends_the_turn_and_the_session_goes_on(browser, server):
    page = Page(browser, server, {"ignore_eos": True})
    page.set("#max-tokens", "100000")
    page.say("Talk for long")
    page.wait(lambda: page.number("seen") > 100)
    page.page.click("#stop")
    page.wait_for_status("Stopped")
    assert page.page.text_content(".turn.assistant span:last-child")
    page.set("#max-tokens", "5")
    page.say("Go on")
    page.wait_for_status("Reply complete")
    page.set("#max-tokens", "100000")
    page.say("Once more")
    page.wait(lambda: page.page.is_visible("#stop"))
    page.page.keyboard.press("Escape")
    page.wait_for_status("Stopped")
    page.wait(lambda: server.metric("turns_running") == 0)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser, server, scheme):
    page = Page(browser, server, viewport={"width": 360, "height": 640}, color_scheme=scheme, has_touch=True)
    page.page.fill("#message", "Hi")
    page.page.tap("#send")
    page.wait_for_status("Reply complete")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.page.is_visible("#message")
    assert page.page.evaluate("document.getElementById('log').clientHeight") > 150
    page.close()


def test_keyboard_and_names(browser, server):
    page = Page(browser, server)
    assert page.page.evaluate("document.activeElement.id") == "message"
    unnamed = page.page.evaluate("""[...document.querySelectorAll('button, textarea, input, canvas')]
        .filter((e) => !(e.textContent || '').trim() && !(e.labels && e.labels.length) && !e.getAttribute('aria-label'))
        .map((e) => e.id)""")
    assert unnamed == []
    page.close()


def test_an_error_is_shown(browser, server):
    page = Page(browser, server)
    page.set("#temperature", "7")
    page.say("Hi")
    page.wait_for_status("temperature")
    assert page.page.locator("#status.error").count() == 1
    assert "temperature must be in [0, 2]" in page.page.text_content("#status")
    page.log.clear()  # the browser's own line about the status 400
    page.close()
