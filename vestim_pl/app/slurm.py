"""Train under Slurm: one run folder for a job and all its requeues, and the requeue itself."""

import hashlib
import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["job_folder", "requeue_job", "requeued_checkpoint"]

_log = logging.getLogger("vestim_pl")
_INTERACTIVE = ("bash", "interactive")  # job names for which Lightning too does not count a process as Slurm's


def job_folder(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> str | None:
    """Name the run folder of a command in a Slurm batch job: the same after a requeue, another for another command.

    Args:
        arguments: Command line without the program.
        environment: Variables of the process.

    Returns:
        None outside of a batch job.

    Example::

        >>> job_folder(["+preset=safer"], {"SLURM_JOB_ID": "4711"})
        'outputs/slurm-4711-4af287'
        >>> job_folder(["+preset=safer"], {}) is None
        True

    """
    job = _job_id(environment)
    if job is None or environment.get("SLURM_JOB_NAME") in _INTERACTIVE:
        return None
    command = hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:6]
    return f"outputs/slurm-{job}-{command}"


def requeued_checkpoint(run_dir: Path, environment: Mapping[str, str] = os.environ) -> str | None:
    """Find the checkpoint from which a requeued job resumes; None for a first start.

    In a run folder of `job_folder` every checkpoint belongs to this job and this command. In any other folder it does
    if Slurm reports a restart of the job.

    Args:
        run_dir: Folder of the run.
        environment: Variables of the process.

    """
    job, restarts = _job_id(environment), int(environment.get("SLURM_RESTART_COUNT") or 0)
    last = run_dir / "checkpoints" / "last.ckpt"
    if job is None or not last.is_file() or not (restarts or run_dir.name.startswith(f"slurm-{job}-")):
        return None
    _log.info("Slurm job %s, restart %d: resuming from %s", job, restarts, last)
    return str(last)


def requeue_job(number: int, environment: Mapping[str, str] = os.environ) -> None:
    """Requeue the running Slurm job if the signal asks for that (SIGUSR1), and log whether it worked.

    Args:
        number: Number of the signal that stopped the training.
        environment: Variables of the process.

    """
    job = _job_id(environment)
    if job is None or number != getattr(signal, "SIGUSR1", None):
        return
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False)
        problem = "" if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        _log.warning("Slurm job %s was not requeued: scontrol requeue %s: %s", job, job, problem)
    else:
        _log.info("Slurm job %s is requeued and will resume in the same run folder", job)


def _job_id(environment: Mapping[str, str]) -> str | None:
    if "SLURM_ARRAY_JOB_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment.get('SLURM_ARRAY_TASK_ID', '0')}"
    return environment.get("SLURM_JOB_ID") or None
