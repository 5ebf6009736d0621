"""VEstim's ``hyperparams.json``: read it, convert it to settings, and report what became of every key."""

from vestim_pl.app.vestim.conversion import Conversion, convert, convert_file
from vestim_pl.app.vestim.draft import Row, Setting
from vestim_pl.app.vestim.expansion import Expansion, expand, lower_bounds, overrides
from vestim_pl.app.vestim.hyperparams_file import hyperparams_of, read_hyperparams
from vestim_pl.app.vestim.keys import KEYS, reference
from vestim_pl.app.vestim.preset_file import preset_yaml, search_yaml
from vestim_pl.app.vestim.table import render_table

__all__ = [
    "KEYS",
    "Conversion",
    "Expansion",
    "Row",
    "Setting",
    "convert",
    "convert_file",
    "expand",
    "hyperparams_of",
    "lower_bounds",
    "overrides",
    "preset_yaml",
    "read_hyperparams",
    "reference",
    "render_table",
    "search_yaml",
]
