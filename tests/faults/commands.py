"""The project's commands, and DVC's, inside a fork: what `python -m …` does, without the seconds of its imports."""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.faults.forks import OK, Ended, in_a_fork

QUIET = {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
         "DVC_STUDIO_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
DVC_CACHE = "DVC_SITE_CACHE_DIR"
REPO = Path(__file__).parents[2]
COMMANDS = ("features", "pipelines", "model")


def warm(with_model: bool = True) -> None:
    """Import what commands import, so that forks need not. Nothing is computed: a fork must not miss a thread."""
    os.environ.update(QUIET)
    os.environ.pop("PREFECT_API_URL", None)
    for name in ("features.__main__", "pipelines.__main__", "pyarrow.parquet", "pyarrow.dataset", "polars", "duckdb",
                 "pymatgen.core", "pymatgen.symmetry.analyzer", "spglib", "gemmi", "features.registry",
                 "features.views.materials", "features.views.splits", "features.views.structures",
                 "pipelines.sources.folder", "pipelines.sources.table", "pipelines.engine.plan",
                 "pipelines.refresh.renew", "dvc.cli", "dvc.cli.parser", "dvc.commands.repro", "dvc.commands.status",
                 "dvc.repo", "dvc.repo.reproduce", "dvc.repo.status",
                 "dvc.stage.run", "dvc.stage.cache", "dvc.cachemgr", "dvc_data.index", "dvc.output", "dvc.dependency",
                 "numpy.random", "filelock"):
        importlib.import_module(name)
    if with_model:
        for name in ("model.__main__", "model.training.train", "model.evaluation.stage", "model.predict",
                     "model.nets.encoders.cgcnn", "model.prediction.predictor", "torch._inductor", "sympy", "pandas",
                     "scipy.stats", "matplotlib.pyplot"):
            importlib.import_module(name)


def command(root: Path, module: str, *arguments: str) -> None:
    """`python -m module arguments…` in a project, in this process, which ends as the command does."""
    os.chdir(root)
    sys.argv = [module, *arguments]
    importlib.import_module(f"{module}.__main__").app()


def ran(root: Path, module: str, *arguments: str, **options: Any) -> Ended:
    """The same in a fork."""
    return in_a_fork(lambda: command(root, module, *arguments), **options)


def dvc(root: Path, *arguments: str) -> None:
    """`dvc arguments…` in a project; commands of ours that its stages name run in forks of this process."""
    import dvc.stage.run
    from dvc.cli import main

    os.chdir(root)
    os.environ[DVC_CACHE] = str(beside(root))
    real = dvc.stage.run._run
    dvc.stage.run._run = lambda shell_, line, **more: _ours(root, line, more) or real(shell_, line, **more)
    sys.exit(main(list(arguments)))


def _ours(root: Path, line: str, options: dict[str, Any]) -> bool:
    """Whether a stage's command is one of ours, which has then run."""
    from dvc.stage.exceptions import StageCmdFailedError

    words = shlex.split(line)
    if words[:2] != ["python", "-m"] or words[2] not in COMMANDS:
        return False
    child = os.fork()
    if not child:
        from features.errors import run_cli

        os.environ.update(options["env"])  # which says that DVC runs it
        try:
            run_cli(lambda: command(root, *words[2:]))
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else 2 if end.code else 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise StageCmdFailedError(line, code)
    return True


def beside(root: Path) -> Path:
    """Where DVC keeps what it knows of files, apart for each project, so that none remembers another's."""
    return root.with_name(f"{root.name}.dvc")


def init(root: Path) -> None:
    """Make a project one of DVC's."""
    shutil.copy(REPO / ".dvcignore", root)
    ended = in_a_fork(lambda: dvc(root, "init", "--no-scm", "--quiet"))
    if ended.code != OK:
        raise RuntimeError(f"dvc init: {ended.brief()}")


def repaired(root: Path, *options: str) -> Ended | None:
    """What `python -m pipelines repair` says; None where there is no such command."""
    from pipelines.__main__ import app

    names = {one.name or (one.callback.__name__ if one.callback else "") for one in app.registered_commands}
    return ran(root, "pipelines", "repair", *options) if "repair" in names else None


def copy(base: Path, root: Path) -> Path:
    """A copy of a project in a place that is then free of what was there, with what DVC keeps beside it.

    Two names of one file, as a table and its published version have them, are two names of one file again.
    """
    copies: dict[int, str] = {}

    def one(source: str, target: str) -> str:
        node = os.stat(source).st_ino
        if node in copies:
            os.link(copies[node], target)
        else:
            copies[node] = str(shutil.copy2(source, target))
        return target

    for place in (root, beside(root)):
        shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base, root, symlinks=True, copy_function=one)
    return root
