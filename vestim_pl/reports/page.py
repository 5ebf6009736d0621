"""Pages written from the jinja2 templates in `templates/`. Everything put into a template is escaped."""

import math
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["render_page", "rounded"]


def render_page(template: str, **content: Any) -> str:
    """Fill in a template.

    Args:
        template: File name in `templates/`.
        content: Values by the names that the template uses; a missing one raises.

    """
    return _ENVIRONMENT.get_template(template).render(content)


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


_ENVIRONMENT = Environment(
    loader=PackageLoader("vestim_pl.reports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["rounded"] = rounded
_ENVIRONMENT.tests["finite"] = math.isfinite
