from datetime import date
from pathlib import Path

import pytest

from vestim_pl.data.splits import SplitRules, assign, proposed_rules
from vestim_pl.errors import ConfigurationError, DataError

NAMES = ["25degC/LA92.csv", "25degC/UDDS.csv", "25degC/US06.csv", "n10degC/LA92.csv", "n10degC/UDDS_2031-03-05.csv"]


def split(tmp_path, names=NAMES, date_of=lambda path: None, **rules):
    assigned = assign(tmp_path, [tmp_path / name for name in names], SplitRules(**rules), date_of)
    return {key: [path.relative_to(tmp_path).as_posix() for path in paths] for key, paths in assigned.items()}


def test_patterns_and_the_rest(tmp_path):
    got = split(tmp_path, test="*LA92*", val=["25degC/US06*", "*2031*"])
    assert got == {
        "train": ["25degC/UDDS.csv"],
        "val": ["25degC/US06.csv", "n10degC/UDDS_2031-03-05.csv"],
        "test": ["25degC/LA92.csv", "n10degC/LA92.csv"],
    }


def test_a_train_rule_leaves_the_others_out(tmp_path):
    assert split(tmp_path, train="25degC/UDDS*", val="*US06*", test="25degC/LA92*")["train"] == ["25degC/UDDS.csv"]


def test_a_list_in_a_file(tmp_path):
    (tmp_path / "test.txt").write_text("# drive cycles\n25degC/LA92.csv\n\nn10degC/LA92\n")
    assert split(tmp_path, test="@test.txt")["test"] == ["25degC/LA92.csv", "n10degC/LA92.csv"]
    with pytest.raises(DataError, match=r"data\.split\.test: there is no file none\.txt, here or in "):
        split(tmp_path, test="@none.txt")


def test_dates_from_the_name_or_the_content(tmp_path):
    days = {"LA92": date(2031, 1, 1), "US06": date(2031, 2, 1)}
    got = split(tmp_path, date_of=lambda path: days.get(path.stem), test="2031-03-01..", val="2031-01-15..2031-02-28")
    assert got["test"] == ["n10degC/UDDS_2031-03-05.csv"]
    assert got["val"] == ["25degC/US06.csv"]


def test_a_recording_in_two_splits_and_a_pattern_without_any_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.split\.val: .*LA92\.csv is named by '\*' and by data\.split\.test"):
        split(tmp_path, test="*LA92*", val="*")
    with pytest.raises(DataError, match=r"data\.split\.test: '\*LA93\*' names none of the 5 recordings in .*LA92"):
        split(tmp_path, test="*LA93*")


@pytest.mark.parametrize("rule", ["", "..", [""], [3]])
def test_rules_that_name_nothing_are_refused(rule):
    with pytest.raises(ConfigurationError, match=r"data\.split\.test: .* names no recordings; use for example"):
        SplitRules(test=rule)


def test_proposed_rules_split_the_files_they_were_proposed_for(tmp_path):
    names = [Path(name).name for name in NAMES] + ["n10degC_US06.csv"]
    got = split(tmp_path, names, **{rule.key.split(".")[-1]: rule.value for rule in proposed_rules(names)})
    assert all(got.values())
    assert proposed_rules(["a.csv", "b.csv"]) == ()


def test_shares_give_every_recording_to_every_split(tmp_path):
    rules = SplitRules(val="70%..85%", test="85%..100%")
    assert rules.given
    assert rules.by_share
    assert [rules.share(each) for each in ("train", "val", "test")] == [(0, 0.7), (0.7, 0.85), (0.85, 1)]
    got = split(tmp_path, ["a.csv", "b.csv"], val="70%..85%", test="85%..100%")
    assert all(len(files) == 2 for files in got.values())


@pytest.mark.parametrize(
    "rules",
    [
        {"val": "60%..85%", "test": "80%..100%"},
        {"val": "70%..85%", "test": "85%..120%"},
        {"val": "70%..70%", "test": "85%..100%"},
        {"val": "*US06*", "test": "85%..100%"},
        {"train": "0%..80%", "val": "70%..85%", "test": "85%..100%"},
        {"test": "0%..100%"},
    ],
)
def test_shares_that_overlap_or_stand_beside_names_are_refused(rules):
    with pytest.raises(ConfigurationError, match=r"data\.split\.\w+: .*use .*data\.split\.val=70%\.\.85%"):
        SplitRules(**rules)
