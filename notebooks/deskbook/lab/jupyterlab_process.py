"""`python -m deskbook.lab.jupyterlab_process`: JupyterLab, without two steps of its start nobody needs."""

from deskbook.authoring.quick_start import skip_slow_import

skip_slow_import()

import jupyterlab.commands  # noqa: E402 - after the imports that must not happen


def _no_yarn_config(logger: object) -> dict[str, dict[str, str]]:
    return {"yarn config": {}, "npm config": {}}


# Where Node.js is installed, JupyterLab asks yarn for its registry while it is imported: half a second. Only
# building an extension from source needs it, and that goes through JupyterLab's own commands.
jupyterlab.commands._yarn_config = _no_yarn_config

from jupyterlab.labapp import main  # noqa: E402

if __name__ == "__main__":
    main()
