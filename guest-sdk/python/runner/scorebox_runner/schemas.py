"""What `run()` takes and gives, for the host's OpenAPI documents."""

import json
from typing import Any

from .script import Script, is_decorated

_VERSIONS = {"v2": {"2", "2.0"}, "v3": {"3", "3.0"}, "v3-1": {"3.1"}}
"""From the host's names of OpenAPI versions to those that types have for them. What else a type names is none."""


def describe(script: Script) -> bytes:
    """A JSON object: `mode`, `input` and `output` (texts of JSON Schemas, or null), and `versions` (empty for all).

    Raises what describing a sample raises: a sample that is no JSON is noticed here.
    """
    description: dict[str, Any] = {"mode": script.mode.value, "input": None, "output": None, "versions": []}
    if is_decorated(script.run):
        from inference_schema import schema_util

        description["input"] = _text(schema_util.get_input_schema(script.run))
        description["output"] = _text(schema_util.get_output_schema(script.run))
        supported = schema_util.get_supported_versions(script.run)
        versions = [version for version, names in _VERSIONS.items() if not names.isdisjoint(supported)]
        description["versions"] = [] if len(versions) == len(_VERSIONS) else versions
    return json.dumps(description).encode()


def _text(schema: Any) -> str | None:
    """The text of a schema. inference_schema has `{"type": "object"}` for one that was not declared."""
    return json.dumps(schema) if schema else None
