"""`python -m deskbook.lab.jupyterlab_process`: JupyterLab as `deskbook lab` starts it.

Two steps of its start that nobody needs are left out, and it keeps the port that it has found.
"""

import errno
import socket

from deskbook.authoring.quick_start import skip_slow_import

skip_slow_import()

import jupyterlab.commands  # noqa: E402 - after the imports that must not happen


def _no_yarn_config(logger: object) -> dict[str, dict[str, str]]:
    return {"yarn config": {}, "npm config": {}}


# Where Node.js is installed, JupyterLab asks yarn for its registry while it is imported: half a second. Only
# building an extension from source needs it, and that goes through JupyterLab's own commands.
jupyterlab.commands._yarn_config = _no_yarn_config

from jupyter_server.serverapp import ServerApp, random_ports  # noqa: E402
from jupyterlab.labapp import LabApp  # noqa: E402

#: Connections that wait until the server is ready.
BACKLOG = 128


class ServerThatKeepsItsPort(ServerApp):
    """Listens from the moment when it has found a free port.

    Jupyter looks for a free port, lets it go, writes its address down, and takes the port at the end of its
    start. Two labs that start at once find the same one. The second then ends; but its address has been given
    to its reader, and leads to the first, which asks for a token that the reader does not have.
    """

    _kept: socket.socket

    def _find_http_port(self) -> None:
        for port in random_ports(self.port, self.port_retries + 1):
            try:
                self._kept = _listen(self.ip, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    break
            else:
                self.port = self._kept.getsockname()[1]
                return
        super()._find_http_port()  # says why there is none, and ends the program

    def _bind_http_server_tcp(self) -> bool:
        self.http_server.add_socket(self._kept)
        return True


def _listen(ip: str, port: int) -> socket.socket:
    """Return a socket that listens; unlike tornado's own function it leaves none open where that fails."""
    host = ip or "0.0.0.0"  # noqa: S104 - what Jupyter makes of `--ip '*'`
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    return listener


if __name__ == "__main__":
    LabApp.serverapp_class = ServerThatKeepsItsPort
    LabApp.launch_instance()
