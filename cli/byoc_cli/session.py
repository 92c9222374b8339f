"""Session commands: ``login``, ``logout``, ``whoami``, ``profile`` and the raw ``api``."""

import getpass
import json
from typing import Annotated, Any, Final

import typer

from byoc.errors import Failed, NotAuthenticated, UsageError
from byoc_cli import profiles, values
from byoc_cli.connection import Connection
from byoc_cli.context import Context, of
from byoc_cli.output import Column, Format, View, compact
from byoc_cli.tree import SESSION, noun, verb

_METHODS: Final = ("GET", "POST", "PATCH", "PUT", "DELETE")
_KEY: Final = (
    "the key of an instance of this machine is in the file controlplane/owner.token of its data folder"
)
_LOCAL: Final = "http://127.0.0.1:8787"

PROFILES: Final = View(
    (
        Column("NAME", lambda each: each["name"]),
        Column("URL", lambda each: each["url"]),
        Column("CURRENT", lambda each: each["current"]),
    ),
    id=lambda each: str(each["name"]),
    json=lambda each: each,
)
IDENTITY: Final = View(
    (
        Column("email", lambda each: each["email"]),
        Column("user", lambda each: each["userID"]),
        Column("organization", lambda each: each["organization"]),
        Column("organization id", lambda each: each["organizationID"]),
        Column("url", lambda each: each["url"]),
        Column("chosen by", lambda each: each["source"]),
    ),
    id=lambda each: str(each["userID"]),
    json=lambda each: each,
)


def add(app: typer.Typer) -> None:
    """Add the commands to the program."""
    verb(app, "login", panel=SESSION)(login)
    verb(app, "logout", panel=SESSION)(logout)
    verb(app, "whoami", panel=SESSION)(whoami)
    saved = noun("Choose among saved control planes and keys.")
    app.add_typer(saved, name="profile", rich_help_panel=SESSION)
    verb(saved, "list")(list_profiles)
    verb(saved, "show")(show)
    verb(saved, "use")(use)
    verb(saved, "remove")(remove)
    verb(app, "api", panel=SESSION)(api)


def login(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option("--url", help="Address of the control plane. [env: BYOC_URL]")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="-", help="`-` reads the key from stdin; it is never an argument."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What to call the profile.")] = "default",
) -> None:
    """Save an address and a Management API key as a profile, and use it."""
    given = of(ctx)
    profiles.check_name(name)
    address = url or given.environment.get("BYOC_URL") or _LOCAL
    key = _read_token(given, token)
    with given.client(Connection(address, key, name, f"profile {name}")) as client:
        try:
            who = client.whoami()
        except NotAuthenticated as error:
            raise NotAuthenticated(
                f"the control plane at {address} does not know this key", hint=_KEY
            ) from error
    config = profiles.load(given.config_folder)
    profiles.save(given.config_folder, config.having(profiles.Profile(name, address.rstrip("/"), key)))
    given.out.done(
        f"logged in to {address} as {who.email}",
        {"profile": name, "url": address, "email": who.email},
        name,
    )


def _read_token(given: Context, token: str | None) -> str:
    if token not in {None, "-"}:
        raise UsageError(
            "--token: a key on the command line can be seen by others", hint="byoc login --token -"
        )
    if token == "-":  # noqa: S105 - the sign for stdin
        key = given.stdin.readline().strip()
    elif given.interactive:
        key = getpass.getpass("Management API key: ", stream=given.stderr).strip()
    else:
        raise UsageError("no key was given", hint="pass it on stdin: `byoc login --token -`")
    if not key or not key.isprintable() or not key.isascii():
        raise UsageError("that is not a key", hint=_KEY)
    return key


def logout(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[PROFILE]", help="The current one if absent.")
    ] = None,
) -> None:
    """Forget a profile and its key."""
    given = of(ctx)
    config = profiles.load(given.config_folder)
    wanted = name or given.given.get("profile") or config.current
    if not wanted:
        raise UsageError("no profile is in use", hint="byoc profile list")
    _forget(given, config, wanted)
    given.out.done(f"profile {wanted} is forgotten", {"profile": wanted}, wanted)


def _forget(given: Context, config: profiles.Config, name: str) -> None:
    profiles.save(given.config_folder, config.without(name))
    profiles.forget_owner(given.config_folder, name)


def whoami(ctx: typer.Context) -> None:
    """Show who the key in use speaks for, and where it came from."""
    given = of(ctx)
    connection = given.connection()
    with given.client(connection) as client:
        who = client.whoami()
    told = {
        "userID": who.user_id,
        "email": who.email,
        "organization": who.organization,
        "organizationID": who.organization_id,
        "url": connection.url,
        "source": connection.source,
    }
    given.out.item(IDENTITY, told)


def _shown(config: profiles.Config, each: profiles.Profile) -> dict[str, Any]:
    return {"name": each.name, "url": each.url, "current": each.name == config.current}


def list_profiles(ctx: typer.Context) -> None:
    """List saved profiles."""
    given = of(ctx)
    config = profiles.load(given.config_folder)
    rows = [_shown(config, each) for _, each in sorted(config.profiles.items())]
    given.out.rows(PROFILES, rows, empty=f"no profiles; make one with `{given.program} login`")


def show(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[PROFILE]", help="The current one if absent.")
    ] = None,
) -> None:
    """Show one profile; never its key."""
    given = of(ctx)
    config = profiles.load(given.config_folder)
    wanted = name or given.given.get("profile") or config.current
    if not wanted:
        raise UsageError("no profile is in use", hint="byoc profile list")
    given.out.item(PROFILES, _shown(config, config.get(wanted)))


def use(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="PROFILE")]) -> None:
    """Make a profile the current one."""
    given = of(ctx)
    profiles.save(given.config_folder, profiles.load(given.config_folder).using(name))
    given.out.done(f"profile {name} is the current one", {"profile": name}, name)


def remove(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="PROFILE")]) -> None:
    """Forget a profile and its key."""
    given = of(ctx)
    _forget(given, profiles.load(given.config_folder), name)
    given.out.done(f"profile {name} is forgotten", {"profile": name}, name)


def api(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, PATCH, PUT or DELETE.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Such as /v1/workspaceGroups.")],
    field: Annotated[
        list[str] | None,
        typer.Option("--field", "-f", metavar="KEY=VALUE", help="A field of the body, or of a GET's query."),
    ] = None,
) -> None:
    """Send any request to the Management API and print the answer."""
    given = of(ctx)
    if method.upper() not in _METHODS:
        raise UsageError(f"`{method[:20]}` is not a method", hint=", ".join(_METHODS))
    if not path.startswith("/"):
        raise UsageError("the path begins with a slash", hint="byoc api GET /v1/regions")
    found = values.fields(field or [])
    in_query = method.upper() in {"GET", "DELETE"}
    query = {key: _query(value) for key, value in found.items()} if in_query else {}
    body = None if in_query else found
    with given.client() as client:
        answer = client.request(method, path, body=body, query=query)
    _print(given, answer.headers.get("content-type", ""), answer.text())


def _query(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _print(given: Context, kind: str, text: str) -> None:
    if "json" not in kind or "ndjson" in kind:
        given.out.text(text)
        return
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Failed("the answer says that it is JSON and is not") from error
    pretty = given.format is not Format.JSON
    given.out.text(json.dumps(value, indent=2, ensure_ascii=False) if pretty else compact(value))
