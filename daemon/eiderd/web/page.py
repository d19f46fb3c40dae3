"""The pages: the status for whoever looks at a phone at 3 a.m., runbooks, and what went wrong.

Plain HTML and SVG without a script; nothing on a page comes from anywhere else. Every value that a
template writes is made `plain` and escaped on the way out, so that none can be forgotten.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eiderd.health import Condition
from eiderd.web import page_facts
from eiderd.words import plain

if TYPE_CHECKING:
    import datetime

    import jinja2

    from eiderd.status import Status

_FOLDER: Final = Path(__file__).parent / "pages"


def status_page(status: Status, *, zone: datetime.tzinfo | None = None) -> str:
    """Return the page of a status. Local times are in `zone`; None is the machine's own."""
    facts = page_facts.facts(status, zone=zone)
    return _render("status.html", tone=str(status.condition), **facts)


def runbook_page(*, name: str, text: str) -> str:
    """Return the page of a runbook, which is Markdown. HTML in it is shown as it stands."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  (few ever open one)
    from markupsafe import Markup  # noqa: PLC0415

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    content = Markup(reader.render(text))  # noqa: S704  (the reader escapes what it is given)
    title = f"{name.replace('_', ' ')} · eiderd"
    return _render("runbook.html", title=title, tone=str(Condition.WELL), content=content)


def problem_page(*, title: str, text: str) -> str:
    """Return the page for an answer that is none."""
    return _render(
        "problem.html",
        title=f"{title} · eiderd",
        tone=str(Condition.DEGRADED),
        heading=title,
        text=text,
        root="/",
    )


@functools.cache
def content_policy() -> str:
    """Return what a browser may do with a page: use our one style sheet, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


# Templates --------------------------------------------------------------------------------------


def _render(template: str, *, tone: str, **values: Any) -> str:
    environment = _environment()
    return environment.get_template(template).render(tone=tone, icon=_icon(tone), **values)


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415  (a service whose page nobody opens does without)
    from markupsafe import Markup  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain,
    )
    environment.globals["style"] = Markup(_style())  # noqa: S704  (a file of ours)
    environment.globals["root"] = ""
    return environment


def _plain(value: object) -> object:
    return plain(value) if type(value) is str else value  # what is marked as safe is a subclass


@functools.cache
def _style() -> str:
    return (_FOLDER / "style.css").read_text()


_ICONS: Final = {
    "well": ("#1a7f4b", "<circle cx='16' cy='16' r='15'/>", "M9 17l5 5 9-11"),
    "degraded": ("#b26a00", "<path d='M16 2l15 28H1z'/>", "M16 12v9m0 3v2"),
    "ill": ("#c0342b", "<path d='M10 1h12l9 9v12l-9 9H10l-9-9V10z'/>", "M10 10l12 12m0-12L10 22"),
}  # fmt: skip


@functools.cache
def _icon(tone: str) -> str:
    """Return the page's icon, which says by colour and by shape how things are."""
    colour, shape, sign = _ICONS[tone]
    drawing = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><g fill='{colour}'>{shape}"
        f"</g><path d='{sign}' fill='none' stroke='#fff' stroke-width='3.4' "
        "stroke-linecap='round' stroke-linejoin='round'/></svg>"
    )
    return f"data:image/svg+xml,{urllib.parse.quote(drawing)}"
