"""A headless Chromium that is told what to do over its DevTools pipe: no driver to install beside the browser itself."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
          "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run", "--no-default-browser-check",
          "--hide-scrollbars", "--remote-debugging-pipe")  # fmt: skip
#: Of every picture: what kind, whether it has been drawn, and its label. An SVG has not if it has a broken shape, or none of data
#: (not grid, frame or annotation) where data belong: inside its frame, if it has one.
_DRAWN = """[...document.querySelectorAll('img, svg')].map(e => {
  if (e.tagName === 'IMG') return {kind: 'img', drawn: e.complete && e.naturalWidth > 0, label: e.src.slice(0, 80)};
  const size = e.getBoundingClientRect();
  const shapes = [...e.querySelectorAll('path, rect, circle, line')];
  const area = (e.querySelector('.frame') || e).getBoundingClientRect();
  const data = shapes.filter(s => !s.closest('.grid, .frame, .ink')).map(s => s.getBoundingClientRect()).filter(b =>
    b.width + b.height > 0 && b.right > area.left && b.left < area.right && b.bottom > area.top && b.top < area.bottom);
  const paths = [...e.querySelectorAll('path')].filter(p => /[a-zA-Z]/.test(p.getAttribute('d') || ''));
  const broken = shapes.some(s => /NaN|undefined|Infinity|nan|inf/.test(s.outerHTML.replace(/<title>.*?<.title>/g, '')));
  return {kind: 'svg', drawn: size.width > 0 && size.height > 0 && data.length > 0 && paths.length > 0 && !broken,
          label: e.getAttribute('aria-label')};
})"""
#: Texts of one picture that lie on each other, or leave it.
_OVERLAPS = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim());
  const boxes = texts.map(t => [t.textContent, t.getBoundingClientRect()]);
  const outer = svg.getBoundingClientRect();
  const out = ([, r]) => Math.min(r.left - outer.left, outer.right - r.right, r.top - outer.top, outer.bottom - r.bottom) < -1;
  const found = boxes.filter(out).map(b => svg.getAttribute('aria-label') + ': cut off: ' + b[0]);
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const [a, p] = boxes[i], [b, q] = boxes[j];
    if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 5)
      found.push(svg.getAttribute('aria-label') + ': ' + a + ' / ' + b);
  }
  return found;
})"""


def find() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@dataclass
class Seen:
    """What a page did: console errors, exceptions, failed requests, addresses asked for; its pictures; texts that overlap."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)


class Browser:
    """One page in one browser; messages end with a zero byte."""

    def __init__(self, process: subprocess.Popen[bytes], commands: int, answers: int, timeout: float) -> None:
        self._process, self._commands, self._answers = process, commands, answers
        self._rest, self._number, self._deadline, self.seen = b"", 0, time.monotonic() + timeout, Seen()
        target = self._call("Target.createTarget", {"url": "about:blank"}, None)["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, None)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._call(method, parameters, self._session)

    def _call(self, method: str, parameters: dict[str, Any], session: str | None) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert time.monotonic() < self._deadline, "the browser does not answer"
            try:
                part = os.read(self._answers, 1 << 16)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            assert part, f"the browser ended, status {self._process.poll()}"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, data: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.seen.errors.append(str(data["exceptionDetails"].get("text")))
        elif event == "Runtime.consoleAPICalled" and data["type"] in ("error", "assert"):
            self.seen.errors.append(f"console: {[a.get('value') for a in data['args']]}")
        elif event == "Log.entryAdded" and data["entry"]["level"] == "error":
            self.seen.errors.append(data["entry"]["text"])
        elif event == "Network.loadingFailed":
            self.seen.errors.append(f"request failed: {data['errorText']}")
        elif event == "Network.requestWillBeSent":
            self.seen.requests.append(data["request"]["url"])

    def evaluate(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)["result"].get("value")

    def open(self, page: Path) -> Seen:
        """Open the file, wait until it has loaded, and look at it."""
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.evaluate("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")
        while self.evaluate("location.href") == "about:blank":
            time.sleep(0.01)
        self.evaluate(
            "new Promise(done => document.readyState === 'complete' ? setTimeout(done, 100) : addEventListener('load', done))"
        )
        self.seen.pictures, self.seen.overlaps = self.evaluate(_DRAWN), self.evaluate(_OVERLAPS)
        return self.seen


@contextlib.contextmanager
def browser(executable: str, profile: Path, timeout: float = 120) -> Iterator[Browser]:
    """A browser with an empty profile; it ends with the block."""
    (their_in, commands), (answers, their_out) = (_high(os.pipe()) for _ in range(2))
    os.set_blocking(answers, False)

    def connect() -> None:  # DevTools reads descriptor 3 and writes 4
        os.dup2(their_in, 3)
        os.dup2(their_out, 4)

    process = subprocess.Popen(
        [executable, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], preexec_fn=connect, pass_fds=(3, 4),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(their_in)
    os.close(their_out)
    try:
        yield Browser(process, commands, answers, timeout)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(commands)
        os.close(answers)


def _high(pipe: tuple[int, int]) -> tuple[int, int]:
    """Both ends on descriptors that 3 and 4 cannot replace."""
    ends = []
    for end in pipe:
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends[0], ends[1]
