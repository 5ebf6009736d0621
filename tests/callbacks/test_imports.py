import subprocess
import sys

CODE = """
import sys
import lightning.pytorch
before = set(sys.modules)
import vestim_pl.callbacks
added = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(added - set(sys.stdlib_module_names)))
"""


def test_the_callbacks_import_nothing_that_lightning_does_not():
    """So they cost another project no more than their own source: no pydantic, pandas, pyarrow, jinja2, hydra."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["vestim_pl"]
