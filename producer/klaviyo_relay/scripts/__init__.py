"""The texts of the Lua scripts: this package's own and the worker's."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_INCLUDE = re.compile(r"^-- include (\w+)/(\w+)\n", re.MULTILINE)


@cache
def script_of(package: str, name: str) -> str:
    """The text of a Lua script in a package's `scripts` folder.

    Redis's scripts share nothing: a line `-- include package/name` stands for another one's text.
    """
    text = files(package).joinpath("scripts", f"{name}.lua").read_text("ascii")
    return _INCLUDE.sub(lambda found: script_of(found[1], found[2]), text)
