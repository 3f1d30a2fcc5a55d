"""Finds where a script changes module-level state in `run()`, which no later request will see.

On a server whose process lives on, a request can leave something for the next one: a counter, a cache, the last input. Here
each request starts from the snapshot after `init()`. `scorebox check` says where a script counts on the difference.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_CHANGING_METHODS = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem", "popleft"}
    | {"put", "remove", "reverse", "rotate", "setdefault", "sort", "update"}
)


@dataclass(frozen=True, order=True)
class Finding:
    """A statement that changes module-level state."""

    line: int
    """Line in the script, from 1."""
    what: str
    """What it does, in words: "assigns the global `counter`"."""


def find(source: str | bytes) -> list[Finding]:
    """Returns what `run()`, and the functions of the script that it calls by name, change; in order of lines.

    Looks at assignments to names declared `global`, to attributes and items of module-level objects, and at calls of their
    methods that usually change an object (`append`, `update`, ...). What an object's own methods do, or other modules,
    stays unseen. Bytes are decoded as Python does it, by their mark or coding line. Raises `SyntaxError` for what is not
    Python.
    """
    module = ast.parse(source)
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    shared = _module_names(module)
    findings: set[Finding] = set()
    waiting, seen = ["run"], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        function = _Function(functions[name], shared)
        findings.update(function.findings())
        waiting.extend(function.calls)
    return sorted(findings)


def _module_names(module: ast.Module) -> set[str]:
    """Names that are assigned at the top of the module, or declared `global` anywhere in it. Functions, classes and imports
    are none of them: calling them changes nothing that is looked for here."""
    names: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
    for node in ast.walk(module):
        if isinstance(node, ast.Global):
            names.update(node.names)
    return names


class _Function:
    def __init__(self, node: ast.FunctionDef | ast.AsyncFunctionDef, shared: set[str]) -> None:
        self._nodes = [inner for statement in node.body for inner in ast.walk(statement)]
        self._globals = {name for inner in self._nodes if isinstance(inner, ast.Global) for name in inner.names}
        stored = {n.id for n in self._nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store | ast.Del)}
        arguments = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
        self._shared = (shared - stored - arguments) | self._globals
        self.calls = [n.func.id for n in self._nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]

    def findings(self) -> Iterator[Finding]:
        for node in self._nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del) and node.id in self._globals:
                yield Finding(node.lineno, f"assigns the global `{node.id}`")
            elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                if self._is_shared(node.value):
                    yield Finding(node.lineno, f"changes `{ast.unparse(node)}`, part of the global `{_root(node.value)}`")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in _CHANGING_METHODS and self._is_shared(node.func.value):
                    yield Finding(
                        node.lineno,
                        f"calls `{ast.unparse(node.func)}()`, which changes the global `{_root(node.func.value)}`",
                    )

    def _is_shared(self, node: ast.expr) -> bool:
        return _root(node) in self._shared


def _root(node: ast.expr) -> str | None:
    """The name that an expression of attributes and items starts from."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
