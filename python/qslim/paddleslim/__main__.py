# SPDX-License-Identifier: Apache-2.0
"""``python -m qslim.paddleslim``: run a script, a module or a command with ``paddleslim`` meaning qslim.

What runs sees what it would see under plain ``python``: its own ``sys.argv``, ``sys.path[0]``, ``__main__``,
exit code, and tracebacks that begin in its own file. ``paddle.fluid`` means ``qslim.fluid``, and a script
that needs Paddle's legacy IR gets it, unless FLAGS_enable_pir_api is set.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
import zipfile
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn, Optional, Union

from qslim.paddleslim import install
from qslim.paddleslim.legacy_scripts import reason_for_legacy_ir

_FLAG = "FLAGS_enable_pir_api"
_USAGE = """\
usage: python -m qslim.paddleslim script.py [arg ...]
       python -m qslim.paddleslim -m module [arg ...]
       python -m qslim.paddleslim -c command [arg ...]
       python -m qslim.paddleslim --path

Run a script with `import paddleslim` and its submodules meaning qslim, in child processes too. --path prints
the file that a launcher of scripts can run in place of `-m qslim.paddleslim`. Scripts that use paddle.fluid,
.pdmodel files or clone(for_test=True) run with FLAGS_enable_pir_api=0, unless it is set.
"""


def main(arguments: Sequence[str]) -> None:
    """Run what `arguments` say, as ``python`` would run it."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, end="", file=sys.stdout if arguments else sys.stderr)
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--path":
        print(os.path.abspath(__file__))
        return
    option = arguments[0] if arguments[0].startswith("-") else ""
    if option not in ("", "-c", "-m") or len(arguments) < (2 if option else 1):
        _fail(2, f"{option} needs an argument" if option in ("-c", "-m") else f"unknown option {option}")
    install()
    sys.excepthook = _show_exception
    if option == "-m":
        _run_module(arguments[1], arguments[2:])
    elif option == "-c":
        _run_command(arguments[1], arguments[2:])
    else:
        _run_script(arguments[0], arguments[1:])


def _run_script(path: str, arguments: Sequence[str]) -> None:
    file = os.path.abspath(path)
    try:
        is_archive = os.path.isdir(path) or zipfile.is_zipfile(path)
        source = b"" if is_archive else Path(path).read_bytes()
    except OSError as error:
        _fail(2, f"can't open file {file!r}: [Errno {error.errno}] {error.strerror}")
    sys.argv[:] = [path, *arguments]
    if is_archive:
        _set_first_path(path)
        runpy.run_path(path, run_name="__main__")
        return
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    _choose_ir(source, path)
    _run_as_main(source, file, __file__=file, __loader__=SourceFileLoader("__main__", file))


def _run_module(name: str, arguments: Sequence[str]) -> None:
    _set_first_path(os.getcwd())
    sys.argv[:] = ["-m", *arguments]
    try:
        spec = importlib.util.find_spec(name)
        found = spec is not None
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        found, spec = False, None
    if not found:
        _fail(1, f"No module named {name}")
    if spec is not None and spec.has_location and spec.origin is not None and spec.origin.endswith(".py"):
        _choose_ir(Path(spec.origin).read_bytes(), name)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run_command(command: str, arguments: Sequence[str]) -> None:
    _set_first_path("")
    _choose_ir(command, "the command")
    sys.argv[:] = ["-c", *arguments]
    _run_as_main(command, "<string>")


def _choose_ir(source: Union[bytes, str], name: str) -> None:
    """Switch PIR off, and say so, if `source` needs the legacy IR and the user has not chosen."""
    if _FLAG in os.environ:
        return
    reason = reason_for_legacy_ir(source)
    if reason is not None:
        os.environ[_FLAG] = "0"
        print(f"qslim.paddleslim: {name} uses {reason}: it runs in the legacy IR, {_FLAG}=0", file=sys.stderr)


def _run_as_main(source: Union[bytes, str], file: str, **attributes: Any) -> None:
    """Run `source` in a new module ``__main__``, which stays, for threads and handlers that outlive it."""
    module = ModuleType("__main__")
    module.__dict__.update(attributes)
    sys.modules["__main__"] = module
    exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)


def _set_first_path(directory: str) -> None:
    """Put `directory` where Python put the one that it found this program in, if it did."""
    if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated:
        sys.path[0] = directory


def _show_exception(
    kind: type[BaseException], error: BaseException, traceback: Optional[TracebackType]
) -> None:
    """Show `error` without the frames that led to the script's first."""
    own = (__file__, runpy.__file__, "<frozen runpy>")
    while traceback is not None and traceback.tb_frame.f_code.co_filename in own:
        traceback = traceback.tb_next
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


def _fail(code: int, message: str) -> NoReturn:
    print(f"qslim.paddleslim: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
