"""Open a page in Debian's Chromium: `make look-check` keeps screenshots, tests take the problems alone.

As a script: `python tests/helpers/browsing.py INTO [PAGE.html …]`; without a page it trains and scores a small detector
on a generated corpus, and looks at the pages of its view and of its run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIZES = {420: 900, 1280: 900}
SCHEMES = ("light", "dark")

CUT_OR_PALE = """() => {
  const problems = [], seen = new Set();
  const say = (text) => { if (!seen.has(text)) { seen.add(text); problems.push(text); } };
  const named = (e) => `${e.tagName.toLowerCase()}${e.id ? "#" + e.id : ""} "${(e.textContent || "").slice(0, 40)}"`;
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) say(`the page is ${page.scrollWidth} wide, the window ${page.clientWidth}`);
  for (const e of document.body.querySelectorAll("*")) {
    if (!e.getClientRects().length) continue;
    const box = e.getBoundingClientRect();
    if (box.right > page.clientWidth + 1 || box.left < -1) say(`outside of the window: ${named(e)}`);
    if (!(e instanceof SVGElement) && e.clientWidth && e.scrollWidth > e.clientWidth + 1
        && getComputedStyle(e).display !== "inline" && !e.closest(".uplot")) say(`cut: ${named(e)}`);
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.disabled || e.closest("[disabled]") || e.tagName === "OPTION") continue;
    const style = getComputedStyle(e);
    const ink = rgb(e instanceof SVGElement ? style.fill : style.color);
    let under = e, back = rgb(getComputedStyle(document.body).backgroundColor);
    for (; under; under = under.parentElement) {
      const found = rgb(getComputedStyle(under).backgroundColor);
      if (found.length < 4 || found[3] > 0) { back = found; break; }
    }
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) say(`contrast ${ratio.toFixed(1)}: ${named(e)}`);
    if (e instanceof SVGElement && box.height < 9) say(`${box.height.toFixed(1)} pixels high: ${named(e)}`);
  }
  return problems;
}"""


def missing() -> str:
    """Return why no page can be looked at here, empty where one can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return "" if chromium() else "there is no Chromium: apt install chromium"


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        words = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = play.chromium.launch(executable_path=chromium(), args=words)
        try:
            yield opened
        finally:
            opened.close()


def examine(opened: Any, file: Path, *, width: int, scheme: str, shot: Path | None = None) -> list[str]:
    """Return what is wrong with a page at a width and in a colour scheme; the keyboard is tried on its events."""
    context = opened.new_context(
        viewport={"width": width, "height": SIZES.get(width, 900)}, color_scheme=scheme, device_scale_factor=1
    )
    problems: list[str] = []
    try:
        page = context.new_page()
        page.on("console", lambda said: problems.append(f"console: {said.text}") if said.type != "log" else None)
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("request", lambda asked: problems.append(f"loads {asked.url}") if asked.url != file.as_uri() else None)
        page.goto(file.as_uri())
        problems += page.evaluate(CUT_OR_PALE)
        if shot is not None:
            page.screenshot(path=shot, full_page=True)
        if page.locator("#events").count():
            problems += _keyboard(page)
            if shot is not None:
                page.select_option("#events-kind", "found")
                page.locator("#events").screenshot(path=shot.with_stem(f"{shot.stem}-events"))
    finally:
        context.close()
    return problems


def _keyboard(page: Any) -> list[str]:
    """Return what the keys do not do: go to the next event and back, scale, and reach every control."""
    where, scale = page.locator("#events-where"), page.locator("#events-scale")
    problems = []
    page.locator("#events").focus()
    for key, element in (("ArrowRight", where), ("ArrowLeft", where), ("End", where), ("+", scale), ("-", scale)):
        before = element.inner_text()
        page.keyboard.press(key)
        if element.inner_text() == before:
            problems.append(f"the key {key} does nothing")
    page.keyboard.press("Home")
    reached = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    for name in ("events-kind", "events-next", "events-smaller", "events-larger"):
        if name not in reached:
            problems.append(f"Tab does not reach {name}")
    return problems


def made(folder: Path) -> list[Path]:
    """Return the pages of a small view and of a run that was trained and scored on it."""
    import brainbrr
    from brainbrr.core.progress import Silent
    from brainbrr.demo import DemoOptions, demo
    from brainbrr.learn.config import load_train_config
    from brainbrr.settings import resolve

    store, runs = folder / "store", folder / "runs"
    config = load_train_config("smoke", ["train.steps=20"])
    options = DemoOptions(folder=folder, settings=resolve(store=str(store), runs=str(runs)), config=config)
    run = Path(demo(options, show=lambda kind, report: None, progress=Silent()).steps["train"]["run"])
    pages = [folder / "view.html", folder / "run.html"]
    brainbrr.report(brainbrr.view(store), pages[0])
    brainbrr.report(run, pages[1], store=store, runs=runs)
    return pages


def main(into: Path, pages: Sequence[Path]) -> int:
    if reason := missing():
        print(f"skipped: {reason}")
        return 0
    into.mkdir(parents=True, exist_ok=True)
    pages = pages or made(into / "made")
    failed = 0
    with browser() as opened:
        for file in pages:
            for width in SIZES:
                for scheme in SCHEMES:
                    shot = into / f"{file.stem}-{width}-{scheme}.png"
                    found = examine(opened, file.resolve(), width=width, scheme=scheme, shot=shot)
                    failed += bool(found)
                    print(f"{shot}: {'; '.join(found) or 'fine'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))
