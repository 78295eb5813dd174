"""What the pages' outputs depend on besides their own text: the package, the recordings, the pinned versions.

Each state of those has an execution cache of its own, and a new state has every page read again.
"""

import hashlib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

INPUTS = ("requirements.txt", "src/qlearn", "book/page.py", "book/models.py", "book/extensions")


def execution_key(root: Path) -> str:
    """A digest over the names and bytes of all inputs."""
    digest = hashlib.sha256()
    for top in (root / name for name in INPUTS):
        found = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]
        for path in found:
            if "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def choose_cache(app: Sphinx, config: Config) -> None:
    config.execution_key = execution_key(Path(app.srcdir))
    config.nb_execution_cache_path = str(Path(app.outdir).parent / ".jupyter_cache" / config.execution_key)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("execution_key", "", "env", str)
    app.connect("config-inited", choose_cache)
    return {"parallel_read_safe": True}
