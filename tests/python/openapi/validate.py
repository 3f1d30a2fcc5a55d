"""Checks OpenAPI documents against the official JSON Schemas.

    validate.py SCHEMAS < DOCUMENTS

DOCUMENTS is a JSON object of documents by name, SCHEMAS the folder of the schemas. Prints a JSON object with what is wrong
with each document: lines of the place, the keyword that refuses it, and why. A reference to nothing counts as well.
"""

import json
import sys
from pathlib import Path

from jsonschema import Draft4Validator, Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource

# Values that are data, in which a member `$ref` is no reference.
DATA = ("default", "enum", "example", "examples")


def validators(folder):
    """The validators by the beginning of the version that a document names."""
    schemas = {path.stem: json.loads(path.read_text()) for path in Path(folder).glob("*.json")}
    resources = [Resource.from_contents(schema) for name, schema in schemas.items() if name.startswith("3.1")]
    registry = Registry().with_resources((resource.id(), resource) for resource in resources)
    return {
        "2.0": Draft4Validator(schemas["2.0"], format_checker=Draft4Validator.FORMAT_CHECKER),
        "3.0": Draft4Validator(schemas["3.0"], format_checker=Draft4Validator.FORMAT_CHECKER),
        # The schema with the dialect of JSON Schema that documents have where they name none.
        "3.1": Draft202012Validator(
            schemas["3.1-base"], registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER
        ),
    }


def dangling(document, value, place="$"):
    """References that lead to nothing."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from dangling(document, item, f"{place}[{index}]")
    elif isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and not leads_somewhere(document, reference):
            yield f"{place}: $ref: nothing at {reference}"
        for key, member in value.items():
            if key not in DATA:
                yield from dangling(document, member, f"{place}.{key}")


def leads_somewhere(document, reference):
    here, *parts = reference.split("/")
    if here != "#":
        return False
    for part in parts:
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True


def wrong(document, known):
    version = document.get("swagger") or document["openapi"]
    for error in known[version[:3]].iter_errors(document):
        # Of the alternatives that do not fit, the one that comes nearest.
        error = best_match([error])
        yield f"{error.json_path}: {error.validator}: {error.message}"
    yield from dangling(document, document)


if __name__ == "__main__":
    known = validators(sys.argv[1])
    documents = json.load(sys.stdin)
    json.dump({name: sorted(wrong(document, known)) for name, document in documents.items()}, sys.stdout)
