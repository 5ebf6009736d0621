from vestim_pl.diagnosis.checks.dropout import check_dropout


def test_on_one_layer_it_drops_what_the_head_reads():
    finding = check_dropout(0.2, [10], scatter_mv=33.3)
    assert (finding.severity, finding.override) == ("note", "network.dropout=0")
    assert "8 of 10 units left" in finding.evidence
    assert "33.3 mV" in finding.evidence


def test_on_several_layers_it_is_what_one_expects():
    finding = check_dropout(0.3, [64, 32], scatter_mv=12.0)
    assert (finding.severity, finding.override) == ("ok", "")
    assert "2 layers' outputs" in finding.evidence


def test_without_there_is_nothing_to_say():
    assert check_dropout(0.0, [10], scatter_mv=0.0).severity == "ok"
