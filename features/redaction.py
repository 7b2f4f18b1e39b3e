"""What must not be shown is not shown: keys of the environment, and passwords in addresses.

Whoever holds a key takes care that no message has it. This is the second line: everything that goes to a terminal, into
a log or into the record of runs passes here, whichever program or library has written it.
"""

from __future__ import annotations

import os
import re

SECRET = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|(?:^|_)PASS)$", re.IGNORECASE)
"""Ends of the names of environment variables that hold secrets."""
_named: set[str] = set()
SHORTEST = 8
"""Characters of a secret; what is shorter stands in too many words."""
IN_ADDRESS = re.compile(r"(?<=://)[^/@\s:'\"]*:[^/\s'\"]+(?=@)|(?:(?<=http://)|(?<=https://))[^/\s'\"?#]+(?=@)",
                        re.IGNORECASE)
"""User and password of an address; of one in the web a name alone, too, which is a token then (`ssh://git@host` has
none)."""
SHOWN = "***"


def keep_secret(name: str) -> None:
    """From now on, in this process, what the environment variable of this name holds is a secret, too."""
    _named.add(name)


def redacted(text: str) -> str:
    """The text with `***` in the place of each secret."""
    values = {value for name, value in os.environ.items()
              if len(value) >= SHORTEST and (name in _named or SECRET.search(name))}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, SHOWN)
    return IN_ADDRESS.sub(SHOWN, text)
