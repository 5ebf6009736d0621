import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from vestim_pl.app.checkpoint_settings import refuse_wrong_checkpoints
from vestim_pl.app.configuration import conf_folder, plain
from vestim_pl.errors import ConfigurationError
from vestim_pl.train import train


@pytest.fixture
def compose(tmp_path):
    def _compose(*overrides):
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return hydra.compose("train", [f"run_dir={tmp_path}", *overrides])

    return _compose


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("+callbacks.checkpoint.every_n_train_steps=10", r"callbacks\.checkpoint\.every_n_train_steps: 10 would rank"),
        ("+callbacks.checkpoint.train_time_interval={_target_:datetime.timedelta,minutes:5}", r"train_time_interval: "),
        ("callbacks.checkpoint.save_last=true", r"callbacks\.checkpoint\.save_last: True would write the best state"),
        ("callbacks.checkpoint.save_last=link", r"callbacks\.checkpoint\.save_last: link would write"),
    ],
)
def test_what_would_keep_the_wrong_file_is_refused(compose, override, named):
    with pytest.raises(ConfigurationError, match=f"{named}.*; remove it") as caught:
        train(compose(override))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["callbacks.checkpoint.save_top_k=3"],
        ["callbacks.last_checkpoint=null", "callbacks.checkpoint.save_last=true"],
        ["+callbacks.often={_target_:lightning.pytorch.callbacks.ModelCheckpoint,every_n_train_steps:5}"],
        ["callbacks.checkpoint=null"],
    ],
)
def test_what_keeps_the_right_files_passes(compose, overrides):
    refuse_wrong_checkpoints(plain(compose(*overrides).callbacks))


def test_what_is_no_interval_is_refused_by_the_name_of_the_setting(compose):
    with pytest.raises(ConfigurationError, match=r"^checkpoint_every: 'often' is not an interval; write a number"):
        train(compose("checkpoint_every=often"))
