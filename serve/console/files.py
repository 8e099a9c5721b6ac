"""The files of the page, read once: what they are, what tells one from its next version, and what a page may do."""

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from pipeline.explore.plotting.assets import SERVED, asset

PREFIX = "console"
"""Of the addresses of all files but the page itself; they are relative, so that a proxy may serve all under a path."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
_PLOTTING = "plotting/"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, name: str, text: str) -> "StaticFile":
        """A file of this name with this text."""
        content = text.encode()
        digest = hashlib.sha256(content).hexdigest()[:32]
        return cls(content=content, media_type=_TYPES[name[name.rindex(".") :]], etag=f'"{digest}"')


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleFiles:
    """The page, and what it loads by name."""

    page: StaticFile
    policy: str
    """The Content-Security-Policy of the page."""
    others: dict[str, StaticFile]

    @classmethod
    def read(cls, *, needs_key: bool, has_lake: bool) -> "ConsoleFiles":
        """Those of this installation.

        Args:
            needs_key: the page asks for a key before it asks for anything else.
            has_lake: there is one to look into.
        """
        folder = files("serve.console")
        html = folder.joinpath("index.html").read_text(encoding="utf-8")
        for name, holds in (("needs_key", needs_key), ("has_lake", has_lake)):
            html = html.replace(f"{{{{{name}}}}}", "yes" if holds else "no")
        names = [each.name for each in folder.iterdir() if each.name.endswith((".js", ".css", ".svg"))]
        vendored = [
            f"vendor/{each.name}"
            for each in folder.joinpath("vendor").iterdir()
            if each.name.endswith((".js", ".LICENSE"))
        ]
        texts = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in [*names, *vendored]}
        texts |= {f"{_PLOTTING}{name}": asset(name) for name in SERVED}
        return cls(
            page=StaticFile.of("index.html", html),
            policy=_policy(html),
            others={name: StaticFile.of(name, text) for name, text in texts.items()},
        )


def _policy(html: str) -> str:
    """Nothing but what this server sends; of scripts in the page itself only the map of modules, by its digest."""
    scripts = re.findall(r'<script type="importmap">(.*?)</script>', html, re.DOTALL)
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts
    )
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' {digests}",
            "style-src 'self'",
            "img-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
