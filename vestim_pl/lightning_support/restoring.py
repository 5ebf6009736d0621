"""Errors that come from the content of a checkpoint."""

import traceback

__all__ = ["failed_while_restoring"]

_RESTORING = ("resume_start", "resume_end", "restore")  # functions of Lightning's checkpoint_connector


def failed_while_restoring(error: BaseException) -> bool:
    """Whether an error was raised while a checkpoint was loaded into trainer, module, callbacks or optimizers.

    Lightning does not check the content of a checkpoint, so damage can raise any error. The functions in the traceback
    distinguish it from a bug in a callback or in ``setup`` of a module. Tested with lightning 2.6.6.

    Args:
        error: Error from ``trainer.fit(ckpt_path=...)``.

    """
    return any(
        frame.f_code.co_filename.endswith("checkpoint_connector.py")
        and frame.f_code.co_name.lstrip("_").startswith(_RESTORING)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
