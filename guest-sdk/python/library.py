r"""Makes what the Python runtime brings besides CPython: an archive of packages, and the list of all packages.

    library.py --manifest MANIFEST --wheels DIR --runner DIR [--bytecode bytecode.json] \
        --archive scorebox.zip --packages packages.json

The archive holds the runner and the contents of the wheels; CPython imports from it. With what `bytecode.py` has made of
such an archive, it need not compile them first. The archive is the same, byte for byte, whenever it is made from the same
inputs.
"""

import argparse
import base64
import json
import pathlib
import re
import zipfile

# The earliest time that an archive can hold.
TIME = (1980, 1, 1, 0, 0, 0)


def runner_files(folder):
    """Yields name and content of the runner's modules, without its tests."""
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("tests/"):
            yield name, path.read_bytes()


def wheel_files(wheel):
    """Yields name and content of a wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("/"):
                yield name, archive.read(name)


def bytecode_files(path):
    """Yields name and content of compiled modules."""
    for name, content in sorted(json.loads(path.read_text()).items()):
        yield name, base64.b64decode(content)


def write_archive(path, files):
    """Writes an archive, uncompressed: each start of a script reads it. Two files of one name are an error."""
    seen = set()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files:
            if name in seen:
                raise SystemExit(f"error: two packages have a file {name}")
            seen.add(name)
            info = zipfile.ZipInfo(name, TIME)
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)


def carried(manifest):
    """Yields name and version of the packages that are compiled into CPython, from lines `package NAME VERSION`."""
    for line in manifest.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "package":
            yield tuple(rest.split(" ", 1))


def main():
    parser = argparse.ArgumentParser()
    for option in ["manifest", "wheels", "runner", "archive", "packages"]:
        parser.add_argument(f"--{option}", type=pathlib.Path, required=True)
    parser.add_argument("--bytecode", type=pathlib.Path)
    args = parser.parse_args()
    wheels = sorted(args.wheels.glob("*.whl"))
    files = list(runner_files(args.runner))
    packages = list(carried(args.manifest))
    for wheel in wheels:
        files.extend(wheel_files(wheel))
        name, version = re.match(r"([^-]+)-([^-]+)-", wheel.name).groups()
        packages.append((name.replace("_", "-"), version))
    if args.bytecode:
        files.extend(bytecode_files(args.bytecode))
    write_archive(args.archive, files)
    listed = [{"name": name, "version": version} for name, version in sorted(packages)]
    args.packages.write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    main()
