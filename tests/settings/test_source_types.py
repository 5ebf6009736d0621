import re
import subprocess
import sys
from typing import Any

import pytest
from hydra.utils import get_object

from tests.app.test_configuration import compose
from vestim_pl.app.configuration import choices, conf_folder
from vestim_pl.settings.arguments import argument_types, check_type
from vestim_pl.settings.source_types import source_signature


def composed():
    from omegaconf import OmegaConf

    extra = [f"callbacks=[default,{name}]" for name in choices("callbacks") if name != "default"]
    lines = [[f"+preset={name}"] for name in choices("preset")] + [[line] for line in extra]
    for line in lines:
        yield OmegaConf.to_container(compose(*line, "run_dir=x"), resolve=True)


TREE = "".join(path.read_text() for path in conf_folder().rglob("*.yaml"))
TARGETS = sorted(set(re.findall(r"^ *_target_: (\S+)", TREE, re.MULTILINE)) - {"vestim_pl.app.refusal.RefuseMistakes"})
# RefuseMistakes is Hydra's to build, and takes no settings.
OPTIMIZERS = [f"torch.optim.{name}" for name in ("Adam", "AdamW", "SGD", "RMSprop", "NAdam")]


@pytest.mark.parametrize("target", [*TARGETS, *OPTIMIZERS, "lightning.pytorch.callbacks.LearningRateMonitor"])
def test_the_source_has_the_names_that_an_import_finds(target):
    found = source_signature(target)
    assert found is not None
    assert set(found.types) == set(argument_types(get_object(target)))


def test_no_value_of_a_shipped_configuration_is_refused():
    for config in composed():
        for where, node in nodes("", config):
            signature = source_signature(node["_target_"])
            for key, value in node.items():
                if key != "_target_" and key in signature.types:
                    check_type(f"{where}.{key}", value, signature.types[key])


def nodes(where, node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from nodes(f"{where}.{key}", value)


def test_types_of_our_own_callbacks_are_known():
    types = source_signature("vestim_pl.callbacks.StepGuard").types
    assert types == {"max_skips_per_epoch": int, "max_consecutive_skips": int, "protect_buffers": bool}
    assert source_signature("vestim_pl.callbacks.LearningRateWarmup").types["duration"] is int
    assert source_signature("lightning.pytorch.Trainer").types["max_epochs"] == int | None
    assert source_signature("lightning.pytorch.Trainer").types["callbacks"] is Any  # more than plain types
    assert source_signature("torch.optim.Adam").types["weight_decay"] is float
    assert source_signature("torch.optim.Adam").types["lr"] is float  # never a tensor in a configuration


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from vestim_pl.settings.source_types import source_signature;"
        "source_signature('lightning.pytorch.Trainer'); source_signature('torch.optim.Adam');"
        "print([name for name in ('torch', 'lightning', 'pandas') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("target", ["no_such_package.Thing", "vestim_pl.callbacks.NoSuchCallback", "torch.no.Thing"])
def test_what_is_not_there_has_no_signature(target):
    assert source_signature(target) is None
