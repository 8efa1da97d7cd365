"""An app behind a real uvicorn, in a process of its own that never outlives the notebook.

    async with serving_app() as desk:  # the reference app, with a database of its own
        run = await load(desk.url + "/v1/instruments/AAPL/quote")

    async with serving_app("quotes_desk:app", workers=2) as desk:  # from a cell with %%module quotes_desk
        ...

The block starts when the app answers and ends when its process is gone. To keep it from cell to cell:
`desk = await serving_app(...).start()`, later `await desk.stop()`. If the kernel dies, however it dies, the
server ends too.

On Linux the server is forked from a process that has imported FastAPI and uvicorn (`deskbook.processes`) and
is up in 20 ms. Elsewhere, and with a setting that an interpreter reads at its start, it gets a fresh one.

`deskbook.serving.trace` says who holds the event loop when. It is not imported here: the server process
imports this package and has no use for matplotlib.
"""

from deskbook.serving.served_app import ServedApp, ServingError, serving_app

__all__ = ["ServedApp", "ServingError", "serving_app"]
