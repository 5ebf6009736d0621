import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts" / "benchmarks"))

import busy_machine


def seconds_of(process) -> float:
    """Processor time that a process has used, from its stat file."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_are_busy_within_the_block_alone_and_end():
    with busy_machine.busy_processes(1) as [process]:
        time.sleep(0.2)
        stopped = seconds_of(process)
        with busy_machine.beside([process]):
            time.sleep(1.0)
        busy = seconds_of(process)
        assert busy > stopped
        time.sleep(0.3)
        assert seconds_of(process) == pytest.approx(busy, abs=0.03)
    assert process.poll() is not None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts the cores it may use")
def test_every_case_has_a_time_at_every_level(tmp_path):
    path = tmp_path / "figures.json"
    busy_machine.main(["--quick", "--json", str(path), "--cases", "one thread", "chosen"])
    rows = json.loads(path.read_text())["rows"]
    assert [row["case"] for row in rows] == ["one thread", "chosen"]
    assert all(row[f"{level} [s]"] > 0 for row in rows for level in ("idle", "one", "three"))
