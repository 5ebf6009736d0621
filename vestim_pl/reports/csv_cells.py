"""Write untrusted text to CSV files so that a spreadsheet does not run it as a formula."""

import re
from typing import Any

import pandas as pd

__all__ = ["original_cell", "safe_cell", "safe_table"]

# start of a formula (OWASP, "CSV Injection"), with leading apostrophes so that one can be removed
_FORMULA = re.compile(r"'*(\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")


def safe_cell(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula; leave numbers unchanged.

    A spreadsheet shows such a cell as text. `original_cell` removes the apostrophe.

    Args:
        value: Content of a cell, of any type.

    Example::

        >>> safe_cell("=HYPERLINK(1)"), safe_cell("-20degC"), safe_cell("udds"), safe_cell("-1e-3"), safe_cell(-1.5)
        ("'=HYPERLINK(1)", "'-20degC", 'udds', '-1e-3', -1.5)

    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value) else value


def original_cell(text: str) -> str:
    """Undo `safe_cell`.

    Example::

        >>> original_cell("'-20degC"), original_cell("'quoted'"), original_cell("-5")
        ('-20degC', "'quoted'", '-5')

    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def safe_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Copy a table for ``to_csv`` so that no cell or column name is a formula.

    Example::

        >>> print(safe_table(pd.DataFrame({"+preset": ["@x"], "rmse_mv": [-1.0]})).to_csv(index=False).strip())
        '+preset,rmse_mv
        '@x,-1.0

    """
    return frame.map(safe_cell).rename(columns=safe_cell)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
