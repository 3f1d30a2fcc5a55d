r"""Stores the modules of an archive that scorers import, instead of compressing them.

    repack.py python-stdlib.zip

CPython imports from the archive, and a third of the time that an import takes is for decompressing it. What is large and seldom
part of a scorer stays compressed: all that is read at each start takes time as well, to be authenticated. The archive is
replaced; it is the same, byte for byte, whenever it is made from the same one.
"""

import argparse
import os
import pathlib
import zipfile

# Packages that stay compressed.
COMPRESSED = {"fontTools", "matplotlib", "mpmath", "networkx", "pypdf", "reportlab", "seaborn", "statsmodels", "sympy"}


def repack(path):
    """Replaces the archive at `path`. Members keep their order, names, times and permissions."""
    new = path.with_suffix(".new")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(new, "w") as repacked:
        for member in archive.infolist():
            info = zipfile.ZipInfo(member.filename, member.date_time)
            info.external_attr = member.external_attr
            is_compressed = member.filename.partition("/")[0] in COMPRESSED
            info.compress_type = zipfile.ZIP_DEFLATED if is_compressed else zipfile.ZIP_STORED
            repacked.writestr(info, archive.read(member))
    os.replace(new, path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("archive", type=pathlib.Path)
    repack(parser.parse_args().archive)


if __name__ == "__main__":
    main()
