"""Whether Lightning failed because of what a checkpoint holds."""

import traceback

__all__ = ["failed_while_restoring"]

_RESTORING = ("resume_start", "resume_end", "restore")  # functions of Lightning's checkpoint_connector


def failed_while_restoring(error: BaseException) -> bool:
    """Whether an error was raised while a checkpoint was read into trainer, module, callbacks or optimizers.

    Lightning checks nothing in a checkpoint, so damage there shows as any error at all. Where it was raised tells it
    from a bug in a callback or in a module's ``setup``.

    Args:
        error: What ``trainer.fit(ckpt_path=...)`` raised.

    Example::

        >>> failed_while_restoring(KeyError("loops"))
        False

    """
    return any(
        frame.f_code.co_filename.endswith("checkpoint_connector.py")
        and frame.f_code.co_name.lstrip("_").startswith(_RESTORING)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
