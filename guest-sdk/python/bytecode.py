"""A scorer that compiles modules to bytecode, in the Python that is to import them.

    scorebox run bytecode.py --content-type application/zip --data ARCHIVE

The request is an archive of modules, the answer a JSON object: for each `NAME.py` of it the file that is to lie beside it
as `NAME.pyc`, in Base64. What does not compile, a template for instance, is left out.
"""

import base64
import io
import pathlib
import py_compile
import tempfile
import zipfile

from azureml_inference_server_http.api.aml_request import rawhttp

PLACE = "/usr/local/lib/scorebox.zip"
"""Where Python finds the archive: tracebacks show its modules there."""


def init():
    """Nothing is to be prepared."""


@rawhttp
def run(request):
    """Compiles each module of the archive in the body of `request`. Python takes the files as they are: it does not look
    whether they belong to the source text beside them."""
    compiled = {}
    with zipfile.ZipFile(io.BytesIO(request.get_data())) as archive, tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "module.py"), pathlib.Path(folder, "module.pyc")
        for name in archive.namelist():
            if not name.endswith(".py"):
                continue
            source.write_bytes(archive.read(name))
            try:
                py_compile.compile(
                    str(source),
                    str(target),
                    f"{PLACE}/{name}",
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )
            except py_compile.PyCompileError:
                continue
            compiled[f"{name}c"] = base64.b64encode(target.read_bytes()).decode()
    return compiled
