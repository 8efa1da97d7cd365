"""The command `deskbook serve`: the reference app with its docs, on a database with the real prices."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from types import FrameType

import click
import uvicorn

from deskbook.desk.companions import companions
from deskbook.desk.database import PASSWORD, TOKEN_SECRET, USER, desk_template
from deskbook.services import ServicesError, ensure, fresh_database, fresh_redis
from reference_app.app import create_app
from reference_app.infra.http.bounded_protocol import BoundedProtocol
from reference_app.settings import SettingsError, load_settings

GRACEFUL_SHUTDOWN_S = 10
BACKLOG = 2048


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
def serve(host: str, port: int) -> None:
    """Run the reference app until Ctrl-C; its database holds the real prices and is dropped at the end.

    A matcher and an outbox relay run beside it, so orders are filled and their events reach a Redis stream; a
    third process tells metrics of the database, at the address that it prints.

    For a database that stays, set DATABASE_URL and run `python -m reference_app.infra.migrate`,
    `python -m reference_app.data.load` and `python -m reference_app`.

    Example: deskbook serve --port 8080
    """
    listener = _listen(host, port)
    try:
        with (
            listener,
            fresh_database(desk_template()) as url,
            fresh_redis() as redis_url,
            companions({"DATABASE_URL": url, "REDIS_URL": redis_url, "DESK_OPERATIONS_PORT": "0"}),
        ):
            _run(listener, url, redis_url)
    except (ServicesError, SettingsError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        pass  # Ctrl-C is how it ends; uvicorn has closed what it served and raises it again
    click.echo("Stopped; its database is gone.")


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything else starts: a taken port is known at once."""
    try:
        # create_server: unlike socket() and bind(), it closes the socket where binding fails
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "is taken: end the program that uses it, or choose another with --port"
        elif error.errno == errno.EACCES:
            reason = "needs more rights: choose a port above 1023 with --port"
        else:
            reason = f"cannot be used ({error.strerror}): check --host"
        raise click.ClickException(f"Port {port} on {host} {reason}.") from None


def _run(listener: socket.socket, url: str, redis_url: str) -> None:
    settings = load_settings(
        database_url=url, redis_url=redis_url, token_secret=TOKEN_SECRET, shutdown_notice_s=0
    )
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            log_level="info",
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        )
    )
    _end_cleanly(server)
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    click.echo(f"{ensure('postgres').postgres}")
    click.echo(f"Interactive docs: {address}/docs   Stop with Ctrl-C.")
    click.echo(f"Sign in there (Authorize) as {USER}, password: {PASSWORD}")
    sys.stdout.flush()
    server.run(sockets=[listener])


def _end_cleanly(server: uvicorn.Server) -> None:
    """Let SIGTERM and a closed terminal end the command as Ctrl-C does, with the database dropped."""

    def stop(signum: int, frame: FrameType | None) -> None:
        if server.started and not server.should_exit:
            server.should_exit = True
        else:
            raise KeyboardInterrupt

    # uvicorn takes over SIGINT and SIGTERM while it runs and raises them again afterwards.
    signal.signal(signal.SIGTERM, stop)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, stop)
