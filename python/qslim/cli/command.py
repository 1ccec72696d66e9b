# SPDX-License-Identifier: Apache-2.0
"""A command made of its settings: flags, the configuration file, the echo, the result, exit codes."""

from __future__ import annotations

import contextlib
import json
import logging
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Callable

# click has no dependency of its own, completes in the shell and brings a runner for tests.
import click
import yaml

from qslim.cli.settings import as_mapping, build, flags_of, merged
from qslim.logger import logger

__all__ = ["BadInput", "Result", "command"]

INTERRUPTED = 130


class BadInput(click.ClickException):
    """An input that will not do: one sentence, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"qslim: {' '.join(self.format_message().split())}", file=file, err=file is None)


class Result:
    """The result of a command: text for people, `values` for ``--json``."""

    def __init__(self, text: str, values: Mapping[str, Any]) -> None:
        self.text = text
        self.values = values


def command(name: str, cls: type[Any], run: Callable[[Any], Result], help: str) -> click.Command:
    """Return the click command `name` that builds a `cls` of its settings and prints ``run(settings)``."""
    flags = flags_of(cls)
    params: list[click.Parameter] = [
        click.Option(["-c", "--config"], metavar="FILE", help="Settings in YAML."),
        click.Option(
            ["-o", "--override"], multiple=True, metavar="A.b=VALUE", help="One setting; may be repeated."
        ),
    ]
    for path, hint, each in flags:
        params += _parameters(path, hint, each)
    params += [
        click.Option(["--json", "as_json"], is_flag=True, help="Print the result and the settings as JSON."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print the result alone."),
    ]

    def callback(config: Any, override: Any, as_json: bool, quiet: bool, **given: Any) -> None:
        values = {path: _value(given, path) for path, _, _ in flags}
        found = {path: value for path, value in values.items() if value not in (None, ())}
        with _failures():
            settings = build(cls, merged(config, override, found))
            echo = as_mapping(settings)
            if not as_json and not quiet:
                click.echo(yaml.safe_dump(echo, sort_keys=False, default_flow_style=None, width=100))
            with _quiet_logger():
                result = run(settings)
        if as_json:
            click.echo(json.dumps({"settings": echo, "result": result.values}, indent=2, default=str))
        elif result.text:
            click.echo(result.text)

    return click.Command(
        name, callback=callback, params=params, help=f"{help}\n\n{_settings_help(cls)}", short_help=help
    )


def _parameters(path: str, hint: Any, each: Any) -> list[click.Parameter]:
    """Return the option and the argument that set the setting at `path`."""
    name, flag = path.replace(".", "__").lower(), each.metadata["flag"]
    found: list[click.Parameter] = []
    if flag:
        is_bool = hint is bool
        declared = f"{flag}/--no-{flag[2:]}" if is_bool else flag
        options: dict[str, Any] = {"default": None} if is_bool else {"type": _click_type(hint)}
        if typing.get_origin(hint) is list:
            options = {"multiple": True, "type": _click_type(typing.get_args(hint)[0])}
        found.append(click.Option([declared, name], help=each.metadata["help"], **options))
    if each.metadata["argument"]:
        nargs = -1 if typing.get_origin(hint) is list else 1
        found.append(
            click.Argument([f"{name}_argument"], required=False, nargs=nargs, metavar=each.name.upper())
        )
    return found


def _value(given: Mapping[str, Any], path: str) -> Any:
    """Return what the command line says of `path`: by flag or by place."""
    name = path.replace(".", "__").lower()
    values = [given.get(name), given.get(f"{name}_argument")]
    found = [value for value in values if value not in (None, ())]
    if len(found) == 2:
        raise click.UsageError(f"{path} is given twice: {found[0]!r} and {found[1]!r}")
    return found[0] if found else None


def _click_type(hint: Any) -> Any:
    arms = [arm for arm in typing.get_args(hint) if arm is not type(None)] or [hint]
    return {int: click.INT, float: click.FLOAT}.get(arms[0], click.STRING)


def _settings_help(cls: type[Any]) -> str:
    sections = ", ".join(typing.get_type_hints(cls))
    return f"Sections of settings, for -c and -o: {sections}. Each run prints all of them."


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn what is wrong with an input into one sentence and exit code 2, Ctrl-C into 130."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("qslim: interrupted; files are as they were", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except MemoryError as error:
        raise BadInput(f"there is not enough memory: {error or 'the system gave no more'}") from error
    except (ValueError, OSError, ImportError) as error:
        raise BadInput(str(error)) from error


@contextlib.contextmanager
def _quiet_logger() -> Iterator[None]:
    """Keep summaries out of the log: the command prints its result itself."""
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
