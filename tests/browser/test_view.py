"""`view` in a browser without a window: what the page shows, and how it answers."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import nn

selenium = pytest.importorskip("selenium")
from selenium.webdriver import Chrome, ChromeOptions  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1200,800",
)  # fmt: skip
R = np.random.default_rng(0)


def f(x, y):
    return x * np.sin(x * y)


def rnn(w, xs):
    def step(h, x):
        h = np.tanh(h @ w + x)
        return h, np.sum(h)

    return np.sum(fg.scan(step, np.zeros(3), xs)[1])


def newton(a):
    return fg.while_loop(lambda x: abs(x * x - a) > 1e-9, lambda x: (x + a / x) / 2, a)


def nested(x):
    """A loop in a loop, and a branch that is taken in some of the steps."""

    def outer(x, k):
        x = fg.fori_loop(0, 2, lambda i, x: np.sin(x) + k, x)
        return fg.cond(k > 1, lambda x: x * x, lambda x: 3 * x, x), x

    return np.sum(fg.scan(outer, x, np.arange(4.0))[1])


def model():
    layers = nn.graph(
        {
            "x": nn.Input(),
            "left": (nn.Dense(4), "x"),
            "right": (nn.serial(nn.Dense(4), np.tanh), "x"),
            "sum": (nn.add, "left", "right"),
        }
    )
    params = layers.init(fg.random.key(0), (-1, 3))[1]
    return (lambda params, x: np.mean(layers.apply(params, x) ** 2)), (
        params,
        R.normal(size=(9, 3)),
    )


def odd(x):
    with fg.named_scope("</script><!--<b>"):
        return np.log(x) * np.array([0.0, 1.0, np.nan, np.inf])


PAGES = {
    "f": (f, (1.0, 2.0)),
    "rnn": (rnn, (R.normal(size=(3, 3)), R.normal(size=(5, 3)))),
    "newton": (newton, (2.0,)),
    "nested": (nested, (0.5,)),
    "model": model(),
    "odd": (odd, (np.array([0.0, 1.0, 2.0, 3.0]),)),
    "integers": (lambda n: n + 1, (3,)),
    "identity": (lambda x: x, (1.5,)),
    "jit": (fg.jit(f), (1.0, 2.0)),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium with chromedriver is installed")
    options = ChromeOptions()
    options.binary_location = binary
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture
def show(browser, folder):
    """Return a function that opens the page of a program; at the end nothing was complained of."""

    def open_page(name):
        path = folder / f"{name}.html"
        if not path.exists():
            fun, args = PAGES[name]
            fg.view(fun)(*args).save(path)
        browser.get(path.as_uri())
        return Page(browser)

    yield open_page
    assert browser.get_log("browser") == []


class Page:
    """What a reader does with a page, and sees of it."""

    def __init__(self, browser):
        self.browser = browser

    def run(self, script):
        return self.browser.execute_script(f"return {script}")

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def press(self, *keys):
        ActionChains(self.browser).send_keys(*keys).perform()

    def node(self, text):
        """Return the node with a text."""
        nodes = "[...document.querySelectorAll('svg.shown .node')]"
        has = f"(n) => n.querySelector('text').textContent === {text!r}"
        return self.run(f"{nodes}.find({has})")

    @property
    def panel(self):
        return self.find("#panel").text

    @property
    def where(self):
        return re.sub(r"\s+", " ", self.find("#where").text)

    @property
    def tags(self):
        """What is written on the edges: values, contributions, sums."""
        found: dict = {"value": [], "ct": [], "sum": []}
        tags = "[...document.querySelectorAll('svg.shown .tag')]"
        for classes, text in self.run(f"{tags}.map((t) => [t.className.baseVal, t.textContent])"):
            kind = "sum" if "sum" in classes else "ct" if "ct" in classes else "value"
            found[kind].append(text)
        return found


@pytest.mark.parametrize("name", PAGES)
def test_pages_load_and_can_be_stepped_through(show, name):
    page = show(name)
    assert page.find("#title").text == page.browser.title
    count = page.run("events.length")
    page.run("events.forEach((event, k) => goTo(k))")
    assert page.run("state.position") == max(count - 1, 0)
    widths = "[...document.querySelectorAll('svg.shown .node')].map((n) => n.getBBox().width)"
    nodes = page.run(widths)
    assert nodes and all(width > 0 for width in nodes)
    everything = page.run(
        "Object.keys(picture().nodes).map((id) => { select(id); return panel.innerText; })"
    )
    assert len(everything) == len(nodes)
    assert not [text for text in everything if re.search(r"undefined|NaN|null|\[object", text)]


def test_the_numbers_are_those_of_the_gradient(show):
    page = show("f")
    assert page.find("#title").text == "f(x, y) = 0.909297"
    gradient = fg.grad(f, (0, 1))(1.0, 2.0)
    rows = [row.text.split() for row in page.all("#panel table:first-of-type tr")][1:3]
    assert rows == [
        [n, "float", v, f"{g:.6g}"] for n, v, g in zip("xy", "12", gradient, strict=True)
    ]
    tags = page.tags
    assert sorted(tags["value"]) == ["0.909297", "0.909297", "1", "2", "2"]
    assert sorted(tags["ct"]) == ["-0.416147", "-0.416147", "-0.832294", "0.909297", "1", "1"]
    assert tags["sum"] == ["Σ 0.0770038"]


def test_a_click_shows_what_is_known_of_a_node(show):
    page = show("f")
    page.node("sin").click()
    panel = page.panel
    assert panel.startswith("b = sin(a)")
    for text in ("test_view.py:", "return x * np.sin(x * y)", "0.909297", "cos(a) = -0.416147"):
        assert text in panel
    assert len(page.all(".selected")) == 1
    page.node("x").click()
    assert "GRADIENT (2 OF 2 CONTRIBUTIONS)" in page.panel
    page.find("#panel table .link").click()  # from step 3
    assert page.panel.startswith("c = x * b")
    ActionChains(page.browser).move_to_element_with_offset(
        page.find("#stage"), -300, -200
    ).click().perform()
    assert page.panel.startswith("f(x, y) = ")


def test_steps_forth_show_values_and_steps_back_cotangents(show):
    page = show("f")
    page.press(Keys.HOME)
    assert page.where == "inputs before the first step"
    assert page.tags == {"value": ["1", "2"], "ct": [], "sum": []}
    assert len(page.all("svg.shown .node.future")) == 4  # three operations and the output
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.where == "forward 2 of 3 b = sin(a)"
    assert page.find(".node.current").text == "sin"
    assert sorted(page.tags["value"]) == ["0.909297", "1", "2", "2"]
    assert "nothing has come back yet" in page.panel
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.where == "backward the result has its cotangent"
    assert page.tags["ct"] == ["1"]
    page.press(Keys.ARROW_RIGHT)
    assert page.where == "backward 1 of 3 c = x * b"
    assert sorted(page.tags["ct"]) == ["0.909297", "1", "1"]
    assert page.tags["sum"] == ["Σ 0.909297"]
    assert "sum so far" in page.panel
    page.press(Keys.ARROW_LEFT)
    assert page.tags["ct"] == ["1"]
    page.press(Keys.END)
    assert page.tags["sum"] == ["Σ 0.0770038"]
    assert page.where == "done 3 steps forward and 3 backward"
    assert not page.all(".future")


def test_buttons_and_the_slider_step_as_keys_do(show):
    page = show("f")
    page.find("#first").click()
    assert not page.find("#back").is_enabled()
    page.find("#next").click()
    assert page.where.startswith("forward 1 of 3")
    page.find("#slider").send_keys(Keys.ARROW_RIGHT)
    assert page.where.startswith("forward 2 of 3")
    page.find("#last").click()
    assert not page.find("#next").is_enabled()
    page.find("#play").click()
    assert page.find("#play").text == "⏸ pause"
    assert page.where.startswith("inputs")
    page.press(Keys.ARROW_RIGHT)  # a step by hand ends it
    assert page.find("#play").text == "▶ play"
    assert page.where.startswith("forward 1 of 3")


def test_search_marks_and_selects(show):
    page = show("model")
    page.press("/")
    page.press("dense")
    hits = page.all("svg.shown .node.hit")
    assert len(hits) == 4  # w, b, product and sum of the layer right/dense
    first = page.panel
    page.press(Keys.ENTER)
    assert page.find("#hits").text == f"2/{len(hits)}"
    assert page.panel != first
    page.press(Keys.ESCAPE)
    assert not page.all(".hit, .searching")
    page.press("/")
    page.press("no such thing")
    assert page.find("#hits").text == "0"


def test_pan_zoom_and_fit(show):
    page = show("model")

    def scale():
        return page.run("picture().view.scale")

    whole = scale()
    page.find("#zoom-in").click()
    assert scale() == pytest.approx(1.25 * whole)
    page.press("-", "-")
    assert scale() == pytest.approx(0.8 * whole)
    stage = page.find("#stage")
    origin = ScrollOrigin.from_element(stage)
    ActionChains(page.browser).scroll_from_origin(origin, 0, -200).perform()
    assert scale() > whole
    before = page.run("picture().view.x")
    ActionChains(page.browser).drag_and_drop_by_offset(stage, 60, 0).perform()
    assert page.run("picture().view.x") == pytest.approx(before - 60 / scale())
    page.press("0")
    assert scale() == pytest.approx(whole)


def test_layers_open_and_close(show):
    page = show("model")
    assert len(page.all("svg.shown .box")) == 3
    closed = "document.querySelector('#level').options[0].selected = true"
    page.run(f"({closed}, byId('level').dispatchEvent(new Event('change')))")
    assert not page.all("svg.shown .box")
    page.node("left").click()
    assert page.panel.startswith("2 operations")
    page.find("#panel .link").click()
    assert "x @ left.w" in page.panel
    page.press(Keys.HOME, Keys.ARROW_RIGHT)
    assert page.find(".node.current").text.startswith("left")


def test_nodes_are_reached_by_keys(show):
    page = show("f")
    page.run("document.querySelector('svg.shown .node').focus()")
    page.press(Keys.ENTER)
    assert page.panel.startswith("x\n")
    page.press(Keys.TAB, " ")
    assert page.panel.startswith("y\n")
    page.press("?")
    assert page.find("#keys").is_displayed()
    page.press(Keys.ESCAPE)
    assert not page.find("#keys").is_displayed()


def test_iterations_of_a_loop_are_chosen(show):
    page = show("rnn")
    page.node("tanh").click()
    assert "iteration 4" in page.panel
    last = page.panel
    page.find("#turn").send_keys(Keys.HOME)
    assert "iteration 0" in page.panel
    assert page.panel != last
    page.press(Keys.ESCAPE)
    page.run("goTo(seeded + 2)")
    assert "iteration 4: " in page.where


def test_loops_in_loops_and_branches_show_one_step_at_a_time(show):
    page = show("nested")
    branches = page.run("Object.keys(data.runs).filter((r) => r.includes('branches'))")
    assert sorted(page.run(f"data.runs[{r!r}].join()") for r in branches) == ["0,1", "2,3"]
    inner = page.run("Object.keys(data.runs).find((r) => r.split('/').length === 4)")
    at = page.run(f"data.forward.findIndex(([p, t]) => p.startsWith({inner!r}) && t === '1,0')")
    page.run(f"goTo({at + 1})")
    assert page.run(f"shownTurn({inner!r})") == "1,0"
    turns = [page.run(f"shownTurn({r!r})") for r in sorted(branches)]
    assert sorted(turns, key=str) == ["1", None]  # of the branches, one runs in this step
    page.run(f"chooseTurn({inner!r}, '3,1')")
    assert sorted([page.run(f"shownTurn({r!r})") for r in branches], key=str) == ["3", None]


def test_steps_inside_of_what_is_closed_are_left_out(show):
    page = show("rnn")
    page.run("(showLevel(0), refresh())")
    page.press(Keys.HOME)
    seen = []
    for _ in range(5):
        page.press(Keys.ARROW_RIGHT)
        seen.append(page.where.split(" ", 1)[0])
    assert seen == ["forward", "forward", "backward", "backward", "done"]


def test_dark_and_light(show):
    page = show("f")
    colours = set()
    for scheme in ("dark", "light"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colours.add(page.find("body").value_of_css_property("background-color"))
        colours.add(page.find("#panel").value_of_css_property("background-color"))
    assert len(colours) == 4


# --- without a browser ----------------------------------------------------------------------------


def test_the_page_needs_nothing_else_and_no_text_of_the_user_ends_a_script():
    page = fg.view(odd)(np.arange(4.0)).html
    assert page.count("<script") == page.count("</script>") == 2
    assert "<!--" not in page
    assert "<b>" not in page
    assert not re.search(r"(src|href)=", page)
    assert {*re.findall(r"https?://[\w./]+", page)} <= {"http://www.w3.org/2000/svg"}


def test_pages_grow_with_the_program_and_not_with_the_arrays():
    def chain(x, n):
        for _ in range(n):
            x = np.tanh(x)
        return np.sum(x)

    sizes = [len(fg.view(lambda x, n=n: chain(x, n))(np.ones(100)).html) for n in (1, 41, 81)]
    assert sizes[2] - sizes[1] < 1.2 * (sizes[1] - sizes[0])
    small, large = (len(fg.view(np.sin)(R.normal(size=n)).html) for n in (100, 100_000))
    assert large - small < 500


def test_long_loops_keep_some_of_their_steps():
    def loop(x):
        return fg.fori_loop(0, 500, lambda i, x: np.sin(x) + 0.01 * i, x)

    assert len(fg.view(loop)(0.5).html) < 250_000


def test_views_show_themselves_in_notebooks_and_in_the_browser(monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    view = fg.view(f)(1.0, 2.0)
    frame = view._repr_html_()
    assert frame.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert frame.count("<") == frame.count(">") == 2
    view.open()
    (uri,) = opened
    with open(uri.removeprefix("file://"), encoding="utf-8") as file:
        assert file.read() == view.html
