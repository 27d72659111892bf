"""The command line: every command and its help. What a command does stands in the module of its name."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table

from huleedu import __version__
from huleedu.cli.words import counted, plain
from huleedu.contracts.phase import ALL_PHASES, Language
from huleedu.platform.errors import Problem, Usage
from huleedu.platform.settings import Settings


def _later(name: str) -> Any:  # noqa: ANN401 -- a module
    """Import a module when something of it is first used, so that `--help` does not wait for the whole server."""
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(name)
    loader = spec.loader = LazyLoader(spec.loader)
    module = sys.modules[name] = module_from_spec(spec)
    loader.exec_module(module)
    return module


if TYPE_CHECKING:
    from huleedu import services as roster
    from huleedu.cli import admin, assess, copying, doctor, serve, topology
else:
    roster = _later("huleedu.services")
    admin, assess, serve, topology = (_later(f"{__name__}.{name}") for name in ("admin", "assess", "serve", "topology"))
    copying, doctor = (_later(f"{__name__}.{name}") for name in ("copying", "doctor"))

app = typer.Typer(
    name="huleedu",
    help="Assess a class's essays: on this machine, or by a server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
user = typer.Typer(
    help="Accounts, sign-in links and tokens. Works while the server runs, and while it does not.", no_args_is_help=True
)
dlq = typer.Typer(help="Records that could not be handled, and what waits behind them.", no_args_is_help=True)
app.add_typer(user, name="user")
app.add_typer(dlq, name="dlq")

DataDir = Annotated[Optional[Path], typer.Option(help="Where everything is kept. [default: ./huleedu-data]")]  # noqa: UP045 -- typer reads it
Text = Annotated[Optional[str], typer.Option()]  # noqa: UP045 -- as above


def main() -> None:
    """Run the command line; what the user must change is said in one sentence."""
    try:
        app()
    except (Usage, Problem) as told:
        Console(stderr=True).print("[red]huleedu:[/red]", plain(str(told)), highlight=False, soft_wrap=True)
        sys.exit(2)


def _settings(**given: object) -> Settings:
    """Return the settings, with what was given on the command line in place of the environment's."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise Usage(f"A setting does not fit: {said}.") from error


@app.command("assess", epilog="Example: huleedu assess examples/class-9b --pipeline nlp --csv results.csv")
def assess_command(
    paths: Annotated[list[Path], typer.Argument(help="Essays, or folders of essays (.txt, .docx, .pdf).", exists=True)],
    pipeline: Annotated[str, typer.Option(help="A phase, with what it needs, or 'all'.")] = ALL_PHASES,
    language: Annotated[Language, typer.Option(help="The language of the essays.")] = Language.EN,
    url: Annotated[Optional[str], typer.Option(help="A server; without it, everything runs here.")] = None,  # noqa: UP045
    token: Annotated[Optional[str], typer.Option(help="The token for that server.", envvar="HULEEDU_TOKEN")] = None,  # noqa: UP045
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write all results to this file.")] = None,  # noqa: UP045
    csv_file: Annotated[Optional[Path], typer.Option("--csv", help="Write a table to this file.")] = None,  # noqa: UP045
) -> None:
    """Assess essays and print what was found. Exit status: 0 all went well, 1 some failed or were refused, 2 usage."""
    order = assess.Order(paths=paths, pipeline=pipeline, language=language, json_file=json_file, csv_file=csv_file)
    raise typer.Exit(asyncio.run(assess.run(order, _settings(log_level="error"), url, token)))


@app.command("serve", epilog="Example: huleedu serve --port 8080 --data-dir /var/lib/huleedu")
def serve_command(
    services: Annotated[Optional[list[str]], typer.Argument(help="Services to run. [default: all]")] = None,  # noqa: UP045
    host: Annotated[Optional[str], typer.Option(help="The address to listen on. [default: 127.0.0.1]")] = None,  # noqa: UP045
    port: Annotated[Optional[int], typer.Option(help="The port; 0 takes a free one. [default: 4001]")] = None,  # noqa: UP045
    data_dir: DataDir = None,
) -> None:
    """Start the server. Ctrl-C stops it; nothing that was answered is lost, whatever stops it.

    On this computer alone it makes an account by itself and prints a one-time sign-in link at each start, as long as
    that account is the only one.
    """
    unknown = [name for name in services or [] if name not in roster.ROSTER]
    if unknown:
        raise Usage(f"There is no service {unknown[0]!r}. There are: {', '.join(roster.ROSTER)}.")
    asyncio.run(serve.run(_settings(host=host, port=port, data_dir=data_dir), services or roster.ROSTER))


@app.command("migrate", epilog="Example: huleedu migrate --data-dir /var/lib/huleedu")
def migrate_command(data_dir: DataDir = None) -> None:
    """Bring the database to the form that this version expects. `serve` does it by itself."""
    for revision in admin.migrate_database(_settings(data_dir=data_dir)):
        typer.echo(revision)


@app.command("topology", epilog="Example: huleedu topology > topology.md")
def topology_command() -> None:
    """Print, from the code, who says what on which topic to whom."""
    typer.echo(topology.render())


@app.command("openapi", epilog="Example: huleedu openapi > openapi.json")
def openapi_command() -> None:
    """Print the description of the public HTTP interface (OpenAPI)."""
    typer.echo(json.dumps(topology.openapi(), indent=2, ensure_ascii=False))


@app.command("doctor", epilog="Example: huleedu doctor --data-dir /var/lib/huleedu")
def doctor_command(data_dir: DataDir = None) -> None:
    """Check this installation and its data, and say what to mend. Exit status 1 if something is wrong."""
    sound = True
    for check in doctor.run(_settings(data_dir=data_dir)):
        typer.echo(f"{'ok   ' if check.sound else 'WRONG'} {check.what}: {check.found}")
        sound &= check.sound
    raise typer.Exit(0 if sound else 1)


@app.command("backup", epilog="Example: huleedu backup /var/backups/huleedu/monday --data-dir /var/lib/huleedu")
def backup_command(
    target: Annotated[Path, typer.Argument(help="A directory to be made, for the copy.")], data_dir: DataDir = None
) -> None:
    """Copy the data directory, while the server runs or not. The copy is a data directory itself."""
    settings = _settings(data_dir=data_dir)
    if settings.blobs_url or settings.database_url:
        raise Usage(
            "A data directory is copied, and HULEEDU_DATABASE_URL or HULEEDU_BLOBS_URL says that data is elsewhere."
            " Stop the server, copy the database (huleedu.db, or by pg_dump), then the bucket."
        )
    typer.echo(counted(admin.back_up(settings.data_dir, target), "essay", "essays"))


@app.command(
    "copy-data", epilog="Example: huleedu copy-data --to postgresql://HOST/huleedu --blobs s3://BUCKET --data-dir DIR"
)
def copy_data_command(
    to: Annotated[Optional[str], typer.Option(help="An empty database. [default: HULEEDU_DATABASE_URL]")] = None,  # noqa: UP045
    blobs: Annotated[Optional[str], typer.Option(help="An empty bucket. [default: HULEEDU_BLOBS_URL]")] = None,  # noqa: UP045
    data_dir: DataDir = None,
) -> None:
    """Copy a school to PostgreSQL and a bucket, compare, and print what was copied. The server must not run.

    The data directory stays as it is. Whatever stops the copy, it can be run again.
    """
    copied, lost = asyncio.run(copying.copy_data(_settings(data_dir=data_dir, database_url=to, blobs_url=blobs)))
    table = Table("what", Column("count", justify="right"), "sha256", box=None)
    for one in copied:
        table.add_row(one.what, str(one.rows), one.sha256[:16])
    Console().print(table)
    for name in lost:
        typer.echo(f"lost before, and so not in the copy: {name}")


@app.command("rebuild-view", epilog="Example: huleedu rebuild-view --page-size 100")
def rebuild_view_command(
    page_size: Annotated[int, typer.Option(help="Batches asked for at a time.", min=1, max=1000)] = 500,
    data_dir: DataDir = None,
) -> None:
    """Make the views again from their owners, while they are read."""
    told = _ask(data_dir, "aggregator", "POST", "/internal/v1/rebuild", params={"page_size": page_size}, timeout=3600)
    typer.echo(counted(told["batches"], "batch", "batches"))


@user.command("add", epilog="Example: huleedu user add anna@school.se --name 'Anna Ek'")
def user_add(
    email: str, name: Annotated[str, typer.Option(help="What to call them.")], data_dir: DataDir = None
) -> None:
    """Add an account. `huleedu user link` lets its owner in."""
    told = _ask(data_dir, "gateway", "POST", "/internal/v1/users", json={"email": email, "name": name})
    typer.echo(told["user_id"])


@user.command("link", epilog="Example: huleedu user link anna@school.se")
def user_link(email: str, data_dir: DataDir = None) -> None:
    """Print a link that signs its account in, once, within 24 hours. Give it to nobody else."""
    typer.echo(asyncio.run(admin.sign_in_link(_settings(data_dir=data_dir), email)))


@user.command("token", epilog="Example: export HULEEDU_TOKEN=$(huleedu user token anna@school.se)")
def user_token(
    email: str,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke all tokens of this account instead.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Print a new bearer token for programs. It is shown once."""
    if revoke:
        told = _ask(data_dir, "gateway", "POST", "/internal/v1/users/revoke", json={"email": email})
        typer.echo(f"{counted(told['revoked'], 'token', 'tokens')} revoked")
    else:
        typer.echo(_ask(data_dir, "gateway", "POST", "/internal/v1/users/token", json={"email": email})["token"])


@user.command("disable", epilog="Example: huleedu user disable anna@school.se")
def user_disable(
    email: str,
    undo: Annotated[bool, typer.Option("--undo", help="Let the account be used again.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Let nobody in by an account, from now on: its sessions, links, tokens and password end. Its batches are kept."""
    _ask(data_dir, "gateway", "POST", "/internal/v1/users/disable", json={"email": email, "undo": undo})


@user.command("list", epilog="Example: huleedu user list")
def user_list(data_dir: DataDir = None) -> None:
    """List the accounts."""
    for item in _ask(data_dir, "gateway", "GET", "/internal/v1/users")["items"]:
        state = "  (disabled)" if item["disabled"] else ""
        typer.echo(f"{item['user_id']}  {item['email']}  {item['name']}{state}")


@dlq.command("list", epilog="Example: huleedu dlq list")
def dlq_list(data_dir: DataDir = None) -> None:
    """List what is parked, with causes."""
    shown = ("id", "group", "topic", "key", "attempts", "cause", "at")
    table = Table(*shown, box=None)
    for letter in admin.dead_letters(_settings(data_dir=data_dir)):
        table.add_row(*(plain(str(letter[name])) for name in shown))
    Console().print(table if table.row_count else "Nothing is parked.")


@dlq.command("show", epilog="Example: huleedu dlq show 17")
def dlq_show(letter_id: int, data_dir: DataDir = None) -> None:
    """Show one parked record: where it is from and why it could not be handled; never what it holds."""
    found = [letter for letter in admin.dead_letters(_settings(data_dir=data_dir)) if letter["id"] == letter_id]
    if not found:
        raise Usage(f"There is no dead letter {letter_id}. `huleedu dlq list` lists them.")
    typer.echo(json.dumps(found[0], indent=2))


@dlq.command("redrive", epilog="Example: huleedu dlq redrive --key BATCH_ID")
def dlq_redrive(
    key: Annotated[Optional[str], typer.Option(help="Only this batch's records.")] = None,  # noqa: UP045
    data_dir: DataDir = None,
) -> None:
    """Handle parked records again, in order; a stopped server does it when it is started."""
    again = admin.redrive(_settings(data_dir=data_dir), key)
    typer.echo(f"{counted(again, 'record', 'records')} to be handled again")


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Assess a class's essays: on this machine, or by a server."""
    if show:
        typer.echo(__version__)
        raise typer.Exit


def _ask(data_dir: Path | None, service: str, method: str, path: str, **sent: object) -> Any:  # noqa: ANN401 -- JSON
    return asyncio.run(admin.ask(_settings(data_dir=data_dir), service, method, path, **sent))
