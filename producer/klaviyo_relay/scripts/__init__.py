"""The texts of the Lua scripts: this package's own and the worker's."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path

_INCLUDE = re.compile(r"^-- include (\w+)/(\w+)\n", re.MULTILINE)


@cache
def script_of(package: str, name: str) -> str:
    """The text of a Lua script in a package's `scripts` folder.

    Redis's scripts share nothing: a line `-- include package/name` stands for another one's text.

    Args:
        package: one of ours.
        name: of the script.
    """
    # Not by importlib.resources, which imports parts of itself at its first use (Python 3.13): a
    # child that is forked while the shipper's thread does, would be without them for ever.
    folder = Path(str(import_module(package).__file__)).parent / "scripts"
    text = (folder / f"{name}.lua").read_text("ascii")
    return _INCLUDE.sub(lambda found: script_of(found[1], found[2]), text)
