"""The keys of VEstim's ``hyperparams.json``: valid values, and the setting of this package."""

from dataclasses import dataclass

from vestim_pl.app.vestim.values import Columns, Flag, Kind, Layers, Number, Word

__all__ = ["EXPLOIT_PHASE", "KEYS", "NETWORKS", "Key", "reference"]

NETWORKS = ("LSTM", "GRU", "FNN", "LSTM_EMA", "LSTM_LPF")
EXPLOIT_PHASE = (
    "no exploit phase: at equal epochs no better than the schedules (docs/guide.md); best.ckpt keeps the best"
)
_NO_FILTER = "no filter is applied to the estimates here; network=lstm_ema and network=lstm_lpf learn one"
_SPLITS = "the folders train/, val/ and test/ are the splits here"
_RECORD = "a record that VEstim writes, not a setting"


@dataclass(frozen=True)
class Key:
    """One key of the file.

    Attributes:
        kind: Its valid values.
        becomes: The setting here, as on the command line; empty if there is none.
        remark: What a user should know; without a setting, the reason.

    """

    kind: Kind
    becomes: str
    remark: str = ""


_size = Number("32", low=1, whole=True)
_part = Number("0.2", low=0, below=1)
_count = Number("1", low=0, whole=True, several=False)
_text = Word()
KEYS: dict[str, Key] = {
    # The network
    "MODEL_TYPE": Key(
        Word(NETWORKS, f"write one of {', '.join(NETWORKS)} (NARX is not supported)"),
        "network=lstm, gru, fnn, lstm_ema, lstm_lpf",
        "LSTM if the key is missing. The filters of LSTM_EMA and LSTM_LPF run over time here; in VEstim never.",
    ),
    "RNN_LAYER_SIZES": Key(Layers(), "network.hidden_sizes", "LSTM and GRU. Must agree with LAYERS and HIDDEN_UNITS."),
    "LSTM_UNITS": Key(Layers(), "network.hidden_sizes", "Another name of RNN_LAYER_SIZES for LSTMs."),
    "GRU_UNITS": Key(Layers(), "network.hidden_sizes", "Another name of RNN_LAYER_SIZES for GRUs."),
    "LAYERS": Key(_size, "network.hidden_sizes", "Number of layers, of HIDDEN_UNITS each."),
    "HIDDEN_UNITS": Key(_size, "network.hidden_sizes", "Size of each layer; one layer if LAYERS is missing."),
    "GRU_LAYERS": Key(_size, "network.hidden_sizes", "GRU: used instead of LAYERS."),
    "GRU_HIDDEN_UNITS": Key(_size, "network.hidden_sizes", "GRU: used instead of HIDDEN_UNITS."),
    "FNN_HIDDEN_LAYERS": Key(Layers(), "network.hidden_sizes", "FNN."),
    "HIDDEN_LAYER_SIZES": Key(Layers(), "network.hidden_sizes", "Another name of FNN_HIDDEN_LAYERS."),
    "FNN_UNITS": Key(Layers(pairs=True), "network.hidden_sizes", "FNN: sizes, or a pair of bounds for each layer."),
    "FNN_N_LAYERS": Key(_size, "network.hidden_sizes", "Number of layers of FNN_UNITS."),
    "FNN_ACTIVATION": Key(_text, "", "the FNN here has ReLU; another activation is refused"),
    "DROPOUT_PROB": Key(
        _part, "network.dropout", "On every layer's output. The key of the MODEL_TYPE takes precedence."
    ),
    "LSTM_DROPOUT_PROB": Key(_part, "network.dropout", "LSTM, LSTM_EMA, LSTM_LPF."),
    "GRU_DROPOUT_PROB": Key(_part, "network.dropout", "GRU."),
    "FNN_DROPOUT_PROB": Key(_part, "network.dropout", "FNN."),
    "LSTM_USE_LAYERNORM": Key(Flag(), "network.layer_norm", "LSTM, LSTM_EMA, LSTM_LPF."),
    # The data
    "LOOKBACK": Key(
        Number("200", low=1, whole=True),
        "sampling.lookback and sampling.horizon=1",
        "VEstim's window ends a sample before the estimated one; sampling.horizon=0 includes it. Not for FNN.",
    ),
    "FEATURE_COLUMNS": Key(
        Columns(),
        "data.features",
        "The files must have these columns, derived ones such as Power too. Those whose name says it become"
        " data.columns.soc, current and temperature.",
    ),
    "TARGET_COLUMN": Key(
        _text, "data.columns.voltage", "Only a voltage is estimated here; SOC and others are refused."
    ),
    "BATCH_SIZE": Key(Number("256", low=1, whole=True), "sampling.batch_size"),
    "BATCH_TRAINING": Key(Flag(), "", "training is always by batches here"),
    "TRAINING_METHOD": Key(
        Word(("Sequence-to-Sequence", "WholeSequenceFNN")),
        "sampling=windows",
        "Sequence-to-Sequence makes one estimate per window, in VEstim too. WholeSequenceFNN is sampling.lookback=1 and"
        " sampling.horizon=0: every row on its own.",
    ),
    "NUM_WORKERS": Key(
        Number("4", low=0, whole=True, several=False),
        "data.num_workers",
        "Batches are gathered from memory here, so data.num_workers=null is faster where the rows fit into it.",
    ),
    "PIN_MEMORY": Key(Flag(), "", "batches are gathered from memory or on the device, without a setting for it"),
    "PREFETCH_FACTOR": Key(_count, "", "workers, where there are any, prefetch as torch does by default"),
    "PERSISTENT_WORKERS": Key(Flag(), "", "how long workers live is not a setting here"),
    # Training
    "INITIAL_LR": Key(Number("0.001", above=0), "optimizer.lr"),
    "OPTIMIZER_TYPE": Key(
        Word(("Adam", "AdamW"), several=True), "optimizer=adam, adamw", "VEstim has no other optimizers."
    ),
    "WEIGHT_DECAY": Key(Number("0.0001", low=0), "optimizer.weight_decay"),
    "MAX_EPOCHS": Key(Number("100", low=1, whole=True), "trainer.max_epochs"),
    "VALID_PATIENCE": Key(
        Number("15", low=1, whole=True),
        "callbacks.early_stopping.patience",
        "Validations without progress in both; VEstim stops one later.",
    ),
    "VALID_FREQUENCY": Key(Number("1", low=1, whole=True), "trainer.check_val_every_n_epoch"),
    "ValidFrequency": Key(
        Number("1", low=1, whole=True), "trainer.check_val_every_n_epoch", "Used if VALID_FREQUENCY is missing."
    ),
    "USE_MIXED_PRECISION": Key(
        Flag(),
        "trainer.precision=mixed or 32-true",
        "Mixed is fp16 on CUDA and bf16 on the CPU, where VEstim has none.",
    ),
    "DEVICE_SELECTION": Key(
        _text,
        "trainer.accelerator and trainer.devices",
        "cuda:0 is trainer.accelerator=auto, which uses the CPU where there is no GPU, as VEstim does.",
    ),
    "REPETITIONS": Key(
        Number("1", low=1, high=10_000, whole=True, several=False), "seed=0,1,...", "A run for each seed, with -m."
    ),
    "MAX_TRAINING_TIME_SECONDS": Key(_count, "trainer.max_time", "0 means no limit."),
    "MAX_TRAIN_HOURS": Key(_count, "trainer.max_time", "Hours, minutes and seconds are added up."),
    "MAX_TRAIN_MINUTES": Key(_count, "trainer.max_time"),
    "MAX_TRAIN_SECONDS": Key(_count, "trainer.max_time"),
    # The schedule of the learning rate
    "SCHEDULER_TYPE": Key(
        Word(("StepLR", "ReduceLROnPlateau", "CosineAnnealingWarmRestarts", "None")),
        "scheduler=step, plateau, cosine_warm_restarts, none",
        "If the key is missing, the keys of a single schedule choose it.",
    ),
    "LR_PERIOD": Key(Number("10", low=1, whole=True), "scheduler.period", "StepLR, in epochs."),
    "LR_PARAM": Key(Number("0.5", above=0, below=1), "scheduler.factor", "StepLR."),
    "LR_DROP_PERIOD": Key(Number("10", low=1, whole=True), "scheduler.period", "Used if LR_PERIOD is missing."),
    "LR_DROP_FACTOR": Key(Number("0.5", above=0, below=1), "scheduler.factor", "Used if LR_PARAM is missing."),
    "PLATEAU_PATIENCE": Key(
        Number("10", low=0, whole=True), "callbacks.plateau.patience", "ReduceLROnPlateau, in validations."
    ),
    "PLATEAU_FACTOR": Key(Number("0.5", above=0, below=1), "callbacks.plateau.factor", "ReduceLROnPlateau."),
    "COSINE_T0": Key(Number("10", low=1, whole=True), "scheduler.t0", "CosineAnnealingWarmRestarts, in epochs."),
    "COSINE_T_MULT": Key(Number("2", low=1, whole=True), "scheduler.t_mult", "CosineAnnealingWarmRestarts."),
    "COSINE_ETA_MIN": Key(Number("1e-6", low=0), "scheduler.eta_min", "CosineAnnealingWarmRestarts, an absolute rate."),
    # Without a setting here
    "EXPLOIT_LR": Key(_text, "", EXPLOIT_PHASE),
    "EXPLOIT_EPOCHS": Key(_text, "", EXPLOIT_PHASE),
    "EXPLOIT_REPETITIONS": Key(_text, "", EXPLOIT_PHASE),
    "FINAL_LR": Key(_text, "", EXPLOIT_PHASE),
    "INFERENCE_FILTER_TYPE": Key(_text, "", _NO_FILTER),
    "INFERENCE_FILTER_WINDOW_SIZE": Key(_text, "", _NO_FILTER),
    "INFERENCE_FILTER_ALPHA": Key(_text, "", _NO_FILTER),
    "INFERENCE_FILTER_POLYORDER": Key(_text, "", _NO_FILTER),
    "TRAIN_VAL_SPLIT": Key(_text, "", _SPLITS),
    "SEQUENCE_SPLIT_METHOD": Key(_text, "", f"{_SPLITS}, so no window is in two of them"),
    "USE_CUDA_GRAPHS": Key(_text, "", "there are no CUDA graphs here"),
    "CURRENT_DEVICE": Key(_text, "", f"{_RECORD}: the device of DEVICE_SELECTION in words"),
    "CURRENT_REPETITION": Key(_text, "", f"{_RECORD}: which of the REPETITIONS it was"),
    "NUM_LEARNABLE_PARAMS": Key(_text, "", f"{_RECORD}: the number of weights"),
    "INPUT_SIZE": Key(_text, "", f"{_RECORD}: the number of FEATURE_COLUMNS"),
    "OUTPUT_SIZE": Key(_text, "", f"{_RECORD}: one voltage"),
    "normalization_applied": Key(_text, "", f"{_RECORD}: inputs and voltage are always scaled here"),
    "OUTPUT_DELAY": Key(_text, "", "for MODEL_TYPE NARX, which is not supported"),
    "activation": Key(_text, "", "for MODEL_TYPE NARX, which is not supported"),
}


def reference() -> str:
    """Write the table of all keys, in Markdown.

    Example::

        >>> reference().splitlines()[0]
        '| key | becomes | to know |'

    """
    lines = ["| key | becomes | to know |", "|---|---|---|"]
    for name, key in KEYS.items():
        becomes = f"`{key.becomes}`" if key.becomes else "nothing"
        remark = f"{key.remark[:1].upper()}{key.remark[1:]}".removesuffix(".")
        lines.append(f"| `{name}` | {becomes} | {remark} |")
    return "\n".join(lines)
