"""JavaScript modules in node: the one of this machine, or Playwright's own."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

WIDGETS = Path(__file__).parents[1] / "src" / "qlearn" / "widgets"


ANSWERED = """
import { readFileSync } from "node:fs";
process.stdout.write(JSON.stringify(await answer(JSON.parse(readFileSync(0)))));
"""


@cache
def node() -> str:
    """The program."""
    from playwright._impl._driver import compute_driver_executable

    return shutil.which("node") or str(compute_driver_executable()[0])


def run(source: str, question: Any, folder: Path) -> Any:
    """A module's ``answer`` to a question, or the promise of one, as JSON; it imports the widgets' files from "./"."""
    where = folder / "asked.mjs"
    text = source.replace('from "./', f'from "{WIDGETS.as_uri()}/')
    where.write_text(f"{text}\n{ANSWERED}\n", encoding="utf-8")
    done = subprocess.run([node(), str(where)], input=json.dumps(question), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
