"""Functions that run right after a module has been imported, before whoever imports it sees it."""

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_Change = Callable[[ModuleType], None]


class _ChangingLoader(Loader):
    """Loads as another loader does, then lets functions change the module."""

    def __init__(self, loader: Loader, changes: list[_Change]) -> None:
        self._loader = loader
        self._changes = changes

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Others find the module's resources through its loader.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        for change in self._changes:
            change(module)


class _ChangingFinder(MetaPathFinder):
    """Finds the modules that are to be changed, by asking all other finders."""

    def __init__(self) -> None:
        self.changes: dict[str, list[_Change]] = {}

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname not in self.changes:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _ChangingLoader(spec.loader, self.changes[fullname])
                return spec
        return None


_finder = _ChangingFinder()


def after_import(name: str, change: _Change) -> None:
    """Calls `change` with the module `name` once it is imported; at once when it has been."""
    module = sys.modules.get(name)
    if module is not None:
        change(module)
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.changes.setdefault(name, []).append(change)
