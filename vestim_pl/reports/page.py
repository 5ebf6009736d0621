"""Pages written from the jinja2 templates in `templates/`. Everything put into a template is escaped.

A page is one file that fetches nothing: plotly.js and the scripts of `assets/` are inside, and its content security
policy names the hash of each script, so a browser runs no other one and opens no address.
"""

import base64
import hashlib
import math
import zlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["compressed", "render_page", "rounded"]

_SCRIPTS = ("plots.js", "recordings.js", "tables.js", "start.js")
_PLOTLY = "plotly-basic.min.js"


def render_page(template: str, *, plots: Any = None, recordings: Any = None, **content: Any) -> str:
    """Fill in a template.

    Args:
        template: File name in `templates/`.
        plots: Figures of plotly by their name; None without any, and the page then lacks plotly.js.
        recordings: From `recording_traces`; None without any.
        content: Values by the names that the template uses; a missing one raises.

    """
    script = "\n".join(map(_asset, _SCRIPTS))
    drawn = bool(plots or recordings)
    return _ENVIRONMENT.get_template(template).render(
        plots=plots or {},
        recordings=recordings,
        script=Markup(script),  # noqa: S704 - ours
        plotly=compressed(_asset(_PLOTLY).encode()) if drawn else "",
        allowed=" ".join(f"'{_digest(text)}'" for text in [script, *([_asset(_PLOTLY)] if drawn else [])]),
        **content,
    )


def compressed(content: bytes) -> str:
    """Compress bytes with zlib and write them in Base64; `inflate` in `assets/plots.js` reads that.

    Example::

        >>> zlib.decompress(base64.b64decode(compressed(b"volts")))
        b'volts'

    """
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def rounded(value: float, digits: int = 2) -> str:
    """Write a number with a fixed number of digits and thousands separators; NaN and Inf in words.

    Example::

        >>> rounded(1234.567), rounded(float("nan")), rounded(float("-inf"))
        ('1,234.57', 'NaN', '-Inf')

    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return f"{value:,.{digits}f}"


@cache
def _asset(name: str) -> str:
    return (files("vestim_pl.reports") / "assets" / name).read_text(encoding="utf-8")


@cache
def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


_ENVIRONMENT = Environment(
    loader=PackageLoader("vestim_pl.reports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}  # NaN is not JSON
_ENVIRONMENT.filters["rounded"] = rounded
_ENVIRONMENT.tests["finite"] = math.isfinite
