"""Compiles the .proto files into bilevel/descriptors.bin while the package is built.

The descriptors are data: bilevel.v1 makes the message classes from them with the protobuf that it finds when it is
imported, so one build serves every version of protobuf and grpcio.
"""

import pathlib
import shutil
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
# In a source distribution the .proto files lie beside this file, in the repository at its top.
PROTO_ROOT = next(path for path in (HERE / "proto", HERE.parent.parent / "proto") if path.is_dir())
PROTO_FILES = sorted(str(path.relative_to(PROTO_ROOT)) for path in (PROTO_ROOT / "bilevel" / "v1").glob("*.proto"))


def protoc():
    """The compiler's command: that of grpcio-tools when it is installed, else the one on the PATH."""
    try:
        import grpc_tools
    except ImportError:
        found = shutil.which("protoc")
        if found is None:
            raise SystemExit("no protoc: install grpcio-tools, or protoc (Debian: protobuf-compiler)") from None
        return [found]
    include = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    return [sys.executable, "-m", "grpc_tools.protoc", f"-I{include}"]


class BuildWithDescriptors(build_py):
    def run(self):
        super().run()
        target = pathlib.Path(self.build_lib) / "bilevel"
        target.mkdir(parents=True, exist_ok=True)
        out = f"--descriptor_set_out={target / 'descriptors.bin'}"
        subprocess.run([*protoc(), f"-I{PROTO_ROOT}", out, *PROTO_FILES], check=True)


class SdistWithProtos(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        shutil.copytree(PROTO_ROOT / "bilevel", pathlib.Path(base_dir) / "proto" / "bilevel", dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithDescriptors, "sdist": SdistWithProtos})
