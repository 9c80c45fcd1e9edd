"""Makes view.png, the picture in docs/view.md; needs selenium, and Chromium with its driver."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

import funcgraph as fg

HERE = Path(__file__).parent
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--window-size=1240,900",
)  # fmt: skip


def loss(params, x, y):
    """Return the mean squared error of a network with two layers."""
    hidden = np.tanh(x @ params["w1"] + params["b1"])
    out = hidden @ params["w2"] + params["b2"]
    return np.mean((out - y) ** 2)


def main() -> None:
    """Open the page, step to the middle of the backward pass, take the picture."""
    rng = np.random.default_rng(0)
    params = {
        "w1": rng.normal(size=(2, 3)), "b1": np.zeros(3),
        "w2": rng.normal(size=(3, 1)), "b2": np.zeros(1),
    }  # fmt: skip
    view = fg.view(loss)(params, rng.normal(size=(5, 2)), rng.normal(size=(5, 1)))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        view.save(page)
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
        for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
            options.add_argument(flag)
        browser = Chrome(options, Service(shutil.which("chromedriver")))
        try:
            browser.get(page.as_uri())
            browser.execute_script("goTo(seeded + 6)")
            browser.save_screenshot(str(HERE / "view.png"))
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
