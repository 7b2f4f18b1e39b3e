"""`make audit`: are vulnerabilities known of the versions in constraints.txt? Asks pypi.org, so it needs a network.

Exit code 0: all were looked up, and nothing is known of any. 1: something is. 2: some or all could not be looked up, so
that nothing is said of those; pip-audit itself calls that a success.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINNED = Path(__file__).parents[1] / "constraints.txt"
COMMAND = ["-m", "pip_audit", "--requirement", str(PINNED), "--no-deps", "--disable-pip", "--progress-spinner", "off",
           "--format", "json", "--timeout", "30"]
SHOWN = 5


def verdict(content: dict[str, Any]) -> tuple[list[str], int]:
    """Lines for people and the exit code, from pip-audit's JSON."""
    packages = content["dependencies"]
    known = [_line(one, found) for one in packages for found in one.get("vulns", ())]
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    if unknown:
        more = ", …" if len(unknown) > SHOWN else ""
        return [*known, f"error: {len(unknown)} of {len(packages)} packages could not be looked up ("
                        f"{', '.join(unknown[:SHOWN])}{more}), and nothing is said of them: the audit needs a network "
                        "in which pypi.org answers"], 1 if known else 2
    return known or [f"nothing is known against any of {len(packages)} packages"], 1 if known else 0


def _line(package: dict[str, Any], found: dict[str, Any]) -> str:
    mended = f", mended in {', '.join(found['fix_versions'])}" if found["fix_versions"] else ""
    return f"{package['name']} {package['version']}: {found['id']}{mended}"


def main() -> None:
    """Ask, and end with the exit code of the verdict."""
    done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, check=False)
    try:
        lines, code = verdict(json.loads(done.stdout))
    except ValueError:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        lines, code = [f"error: pip-audit could not ask pypi.org: {said[-1] if said else 'it says nothing'}"], 2
    for line in lines:
        print(line, file=sys.stderr if line.startswith("error: ") else sys.stdout)
    sys.exit(code)


if __name__ == "__main__":
    main()
