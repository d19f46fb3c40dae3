"""The status page in a true browser: it fits, it says the main thing first, and it phones nobody.

Chromium and its driver come from the system (Debian: chromium, chromium-driver).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eiderd.health import Finding, Kind, Severity
from eiderd.outside.web import Web
from eiderd.status import Status
from eiderd.web import server
from tests import statuses

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser: apt-get install chromium chromium-driver"
)

SIZES = {"small": (320, 640), "phone": (390, 844), "desktop": (1280, 900)}
STATUSES: dict[str, Callable[[], Status]] = {
    "empty": statuses.empty,
    "well": statuses.well,
    "findings": statuses.with_findings,
    "thousand": lambda: statuses.with_backups(1000),
}
RUNBOOK = """# No verified backup

There is **none**. Look at the last runs:

```
eider status
```

| seen | meaning |
|---|---|
| `failed` | the reason stands beside it |

![tracker](http://198.51.100.7/pixel.png)
"""


@dataclasses.dataclass(slots=True)
class Visit:
    """A browser, and the service it looks at."""

    driver: Any
    address: str
    shown: Status
    width: int = 0

    def open(self, status: Status, *, size: str, scheme: str, path: str = "/") -> None:
        self.shown = status
        # A phone that finds too wide a page zooms out: its own innerWidth cannot be asked.
        self.width, height = SIZES[size]
        self.command("Emulation.setDeviceMetricsOverride", width=self.width, height=height,
                     deviceScaleFactor=1, mobile=size != "desktop")  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)
        for log in ("performance", "browser"):
            self.driver.get_log(log)  # what was before is over
        self.driver.get(self.address + path)

    def command(self, name: str, **values: object) -> dict[str, Any]:
        found: dict[str, Any] = self.driver.execute_cdp_cmd(name, values)
        return found

    def script(self, text: str) -> Any:  # noqa: ANN401
        return self.driver.execute_script(f"return {text}")

    def requested(self) -> list[str]:
        """Return every address that the page asked for since it was opened."""
        events = [json.loads(line["message"])["message"] for line in
                  self.driver.get_log("performance")]  # fmt: skip
        return [event["params"]["request"]["url"] for event in events
                if event["method"] == "Network.requestWillBeSent"]  # fmt: skip

    def complaints(self) -> list[str]:
        return [line["message"] for line in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    with contextlib.ExitStack() as stack:
        seen = Visit(None, "", statuses.well())
        web = Web(
            server.Application(
                look=lambda: seen.shown,
                turning=lambda: True,
                exposition=lambda _status, _accept: (b"", "text/plain"),
                runbook=lambda _name: RUNBOOK,
                complain=_raise,
            ),
            host="127.0.0.1",
            port=0,
        )
        web.begin()
        stack.callback(web.end, 1)
        seen.address = f"http://127.0.0.1:{web.address[1]}"
        seen.driver = _browser(tmp_path_factory.mktemp("browser"))
        stack.callback(seen.driver.quit)
        yield seen


def _raise(error: Exception) -> None:
    raise error


def _browser(folder: Path) -> Any:  # noqa: ANN401  (selenium's classes come and go)
    from selenium import webdriver  # noqa: PLC0415  (only where there is a browser)
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    # No sandbox: as root, and in most containers, Chromium cannot have one. It sees our pages only.
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in ("headless=new", "disable-gpu", "disable-dev-shm-usage", "no-first-run",
                   "hide-scrollbars", "no-sandbox", "disable-background-networking",
                   "no-proxy-server", f"user-data-dir={folder / 'profile'}"):  # fmt: skip
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", STATUSES)
def test_the_page_fits_says_it_at_a_glance_and_asks_nobody_else(
    visit: Visit, name: str, size: str, scheme: str
) -> None:
    status = STATUSES[name]()
    visit.open(status, size=size, scheme=scheme)

    assert _too_wide(visit) == []
    expected = "no verified backup" if status.newest_verified is None else "Last verified backup"
    assert expected in visit.script("document.querySelector('h1').innerText")
    box = visit.script("document.querySelector('h1').getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < box["bottom"] <= SIZES[size][1] / 2
    # The style sheet was not refused, and it heeds light and dark.
    channels = visit.script("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")
    assert (sum(map(int, channels)) < 200) is (scheme == "dark")
    assert visit.complaints() == []
    asked = visit.requested()
    assert f"{visit.address}/" in asked
    assert [url for url in asked if not url.startswith((f"{visit.address}/", "data:"))] == []


def _too_wide(visit: Visit) -> list[str]:
    """Return what does not fit in the width of the window."""
    wide: list[str] = visit.script(
        "[...document.querySelectorAll('body, body *')].filter(e => "
        "!e.closest('.hidden') && !e.closest('svg > *') && "
        "(e.getBoundingClientRect().right > WIDTH + 0.5 || "
        "e.getBoundingClientRect().left < -0.5)).map(e => e.outerHTML.slice(0, 120))".replace(
            "WIDTH", str(visit.width)
        )
    )
    wide += visit.script(
        "[...document.querySelectorAll('.card > *')].filter(e => e.getBoundingClientRect().right > "
        "e.parentElement.getBoundingClientRect().right - "
        "parseFloat(getComputedStyle(e.parentElement).paddingRight) + 0.5)"
        ".map(e => 'beyond its card: ' + e.outerHTML.slice(0, 120))"
    )
    if visit.script("document.documentElement.scrollWidth") > visit.width:
        wide.append("the page scrolls sideways")
    return wide


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", STATUSES)
def test_every_text_has_the_contrast_that_wcag_asks_for(
    visit: Visit, name: str, scheme: str
) -> None:
    visit.open(STATUSES[name](), size="desktop", scheme=scheme)
    faint = {(text, round(ratio, 2)) for text, ratio in visit.script(CONTRAST) if ratio < 4.5}
    assert faint == set()


# For each element with text of its own: the text, and its contrast with what is behind it.
CONTRAST = """(() => {
  const channels = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => {
    const [r, g, b] = channels(c).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (channels(c).length < 4 || channels(c)[3] > 0) return c;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
    if (!text || e.closest('title, desc') || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const front = e instanceof SVGElement ? style.fill : style.color;
    const pair = [light(front), light(behind(e))].sort((a, b) => b - a);
    found.push([text.slice(0, 40), (pair[0] + 0.05) / (pair[1] + 0.05)]);
  }
  return found;
})()"""


def test_a_screen_reader_finds_landmarks_headings_tables_and_pictures(visit: Visit) -> None:
    visit.open(statuses.with_findings(), size="phone", scheme="light")
    tree = visit.command("Accessibility.getFullAXTree")["nodes"]
    names: dict[str, list[str]] = {}
    for node in tree:
        if not node["ignored"]:
            role, name = node["role"]["value"], node.get("name", {}).get("value", "")
            names.setdefault(role, []).append(name)
    assert len(names["main"]) == len(names["banner"]) == len(names["contentinfo"]) == 1
    assert {"Backups", "Disks", "Now and next", "What was found"} <= set(names["heading"])
    assert {"Taken", "State", "Outcome"} <= set(names["columnheader"])
    pictures = names.get("image", []) + names.get("img", [])
    assert any(picture.startswith("Backups along time") for picture in pictures)
    assert all(pictures), "a picture without a name"
    assert names["link"]
    assert all(names["link"])


def test_hostile_words_stay_words(visit: Visit) -> None:
    evil = (
        '<script>document.title = "owned"</script><img src=http://198.51.100.7/x onerror=alert(1)>'
    )
    status = statuses.with_findings()
    status = dataclasses.replace(
        status,
        database=f"/data/{evil}",
        findings=(Finding(kind=Kind.JOB_FAILED, severity=Severity.CRITICAL, subject=evil,
                          message=evil * 20, command="x" * 10_000),),
        backups=tuple(dataclasses.replace(b, note=evil + "\u202e" + "w" * 10_000)
                      for b in status.backups),
        recent=tuple(dataclasses.replace(run, why="\u202e" + evil * 9) for run in status.recent),
    )  # fmt: skip
    visit.open(status, size="phone", scheme="light")
    assert "owned" not in visit.driver.title
    assert _too_wide(visit) == []
    assert visit.script("document.querySelectorAll('script, img').length") == 0
    assert visit.complaints() == []
    assert all(url.startswith((visit.address, "data:")) for url in visit.requested())


@pytest.mark.parametrize("size", SIZES)
def test_a_runbook_is_a_click_away_and_shows_no_foreign_picture(visit: Visit, size: str) -> None:
    visit.open(statuses.with_findings(), size=size, scheme="dark")
    visit.script("document.querySelector('.findings a').click()")
    assert visit.script("location.pathname") == "/runbook/no_verified_backup"
    assert visit.script("document.querySelector('h1').innerText") == "No verified backup"
    assert _too_wide(visit) == []
    assert visit.complaints() == []
    assert all(url.startswith((visit.address, "data:")) for url in visit.requested())
    visit.script("document.querySelector('header a').click()")
    assert visit.script("location.pathname") == "/"


def test_the_browser_would_see_a_foreign_request_and_a_refused_script(visit: Visit) -> None:
    """The tests above must be able to fail."""
    visit.open(statuses.well(), size="phone", scheme="light")
    visit.script("void(new Image().src = 'http://198.51.100.7/pixel.png')")
    assert any("Content Security Policy" in line for line in visit.complaints())
    visit.driver.get("data:text/html,<img src='http://127.0.0.1:9/x.png'><p style='width:3000px'>x")
    assert "http://127.0.0.1:9/x.png" in visit.requested()
    assert _too_wide(visit)
