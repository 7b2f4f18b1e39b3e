"""Which code is this: a digest over the source files of packages."""

from __future__ import annotations

import functools
import hashlib
from importlib.util import find_spec
from pathlib import Path

from features.errors import UserError


@functools.cache
def code_digest(*packages: str) -> str:
    """sha256 over names and contents of all Python files of these packages, such as `features` or `model.nets`."""
    digest = hashlib.sha256()
    for package in packages:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(f"the package {package} is not installed whole")
        folder = Path(spec.origin).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
