"""Models that were pickled where integers have 64 bits, and that this Python would not read."""

from typing import Any

from .imports import after_import


def install() -> None:
    """Makes them readable, as soon as the packages are imported that they are of."""
    after_import("sklearn.neighbors._kd_tree", lambda module: _narrow_state(module.KDTree))
    after_import("sklearn.neighbors._ball_tree", lambda module: _narrow_state(module.BallTree))


def _narrow_state(tree: Any) -> None:
    """Lets a tree of neighbours take indices of 64 bits, which the arrays in its state have where it was pickled."""
    original = tree.__setstate__

    def set_state(self: Any, state: tuple[Any, ...]) -> None:
        original(self, tuple(map(_narrow, state)))

    tree.__setstate__ = set_state


def _narrow(part: Any) -> Any:
    """The same array with the size of integers that this Python has; what is no array as it is."""
    import numpy as np

    if not isinstance(part, np.ndarray):
        return part

    def narrow(kind: Any) -> Any:
        return np.dtype(np.intp) if kind == np.int64 else kind

    if part.dtype.names is None:
        return part.astype(narrow(part.dtype), copy=False)
    fields = [(name, narrow(part.dtype[name])) for name in part.dtype.names]
    return part.astype(np.dtype(fields, align=True), copy=False)
