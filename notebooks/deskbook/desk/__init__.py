"""The reference app inside a notebook or a test, on a database of its own with the real prices.

    database.py     the template of its database, the user in it, the header that signs a request
    in_process.py   `running_app`: the app in this process, for the length of a block
    companions.py   its processes besides the web workers
    commands.py     `deskbook serve`

`deskbook.serving.serving_app()` puts the app behind a real uvicorn instead, on the same database.
"""

from deskbook.desk.in_process import RunningApp, running_app

__all__ = ["RunningApp", "running_app"]
