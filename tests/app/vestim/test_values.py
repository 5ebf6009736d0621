"""Values of VEstim's files: text that stands for numbers, grids, bounds and layers."""

import pytest

from vestim_pl.app.vestim.values import Choice, Columns, Flag, Layers, Number, Range, Word, is_empty

COUNT = Number("200", low=1, whole=True)
RATE = Number("0.001", above=0)


@pytest.mark.parametrize(
    ("kind", "raw", "choice"),
    [
        (COUNT, "400", Choice((400,))),
        (COUNT, 400, Choice((400,))),
        (COUNT, 400.0, Choice((400,))),
        (COUNT, " 100 , 200 ", Choice((100, 200))),
        (COUNT, "[100, 400]", Choice(range=Range(100, 400))),
        (COUNT, [100, 400], Choice(range=Range(100, 400))),
        (COUNT, "[5,5]", Choice((5,))),
        (RATE, "1e-4", Choice((1e-4,))),
        (RATE, "0.00005", Choice((5e-5,))),
        (RATE, ".5", Choice((0.5,))),
        (RATE, "[1e-5,1e-2]", Choice(range=Range(1e-5, 1e-2))),
        (Flag(), True, Choice((True,))),
        (Flag(), "false", Choice((False,))),
        (Flag(), "Yes", Choice((True,))),
        (Word(("Adam", "AdamW"), several=True), "adamw,Adam", Choice(("AdamW", "Adam"))),
        (Columns(), ["SOC", " Current"], Choice((("SOC", "Current"),))),
        (Columns(), "SOC,Temp", Choice((("SOC", "Temp"),))),
        (Layers(), "64,32", Choice(((64, 32),))),
        (Layers(), 64, Choice(((64,),))),
        (Layers(), [64, 32], Choice(((64, 32),))),
        (Layers(), "64,32;128,64", Choice(((64, 32), (128, 64)))),
        (Layers(), "64,32:8", Choice(((64, 32), (8,)))),
        (Layers(), ["32,16", "64,32"], Choice(((32, 16), (64, 32)))),
        (Layers(), "[[32,16],[128,64]]", Choice(range=Range((32, 16), (128, 64)))),
        (Layers(), "[32,64,128],[128,256,512]", Choice(range=Range((32, 64, 128), (128, 256, 512)))),
        (Layers(), "[8],[16],[32]", Choice(((8,), (16,), (32,)))),
        (Layers(pairs=True), "[[8,64],[8,32]]", Choice(range=Range((8, 8), (64, 32)))),
        (Layers(pairs=True), "[8,64]", Choice(range=Range((8,), (64,)))),
    ],
)
def test_what_vestim_writes_is_read(kind, raw, choice):
    assert kind.read(raw) == choice


@pytest.mark.parametrize(
    ("kind", "raw", "said"),
    [
        (COUNT, "abc", "is not a number"),
        (COUNT, True, "is not a number"),
        (COUNT, "nan", "is not a number"),
        (COUNT, "inf", "is not a number"),
        (COUNT, "1_000", "is not a number"),
        (COUNT, "-3", "is not at least 1"),
        (COUNT, "2.5", "is not a whole number"),
        (COUNT, "1e400", "is not"),
        (COUNT, "100,abc", "has a value that is not"),
        (COUNT, "[1,2,3]", "3 values in brackets"),
        (COUNT, "[400,100]", "lower bound above"),
        (COUNT, "[1", "not a pair"),
        (RATE, "0", "is not above 0"),
        (Number("0.0001", low=0), "0,0001", "decimal sign is a point"),
        (Number("1", several=False), "1,2", "several values"),
        (Flag(), "maybe", "neither true nor false"),
        (Flag(), 5, "neither true nor false"),
        (Word(("Adam",)), "SGD", "write one of Adam"),
        (Word(), 5, "is not text"),
        (Columns(), ["a", "a"], "twice"),
        (Columns(), [3], "column names"),
        (Layers(), "[64,32]", "sizes or bounds"),
        (Layers(), "64,x", "is not a number"),
        (Layers(), "0", "at least 1"),
        (Layers(), "[[32],[8,8]]", "1 layers and upper bounds of 2"),
        (Layers(), "[[128],[8]]", "lower bound above"),
        (Layers(), "[8],16", "mixes"),
        (Layers(), [], "not a list"),
        (Layers(pairs=True), "[[8,64],[8]]", "without two"),
    ],
)
def test_nonsense_is_refused_with_what_to_write(kind, raw, said):
    with pytest.raises(ValueError, match=said) as refused:
        kind.read(raw)
    assert ";" in str(refused.value)


def test_no_value_is_no_nonsense():
    assert [is_empty(raw) for raw in (None, "", "  ", [], 0, False, "0")] == [True] * 4 + [False] * 3
