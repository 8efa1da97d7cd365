"""A change holds what was sent, and nothing else: `MISSING` stands for what was not.

With `None` as default, "not sent" and "null" are the same value, and no code behind the model can tell them
apart. `MISSING` is no value of the type, so the name can be absent and still not null, and `model_dump`
leaves it out.
"""

from fastapi import FastAPI
from pydantic import MISSING, BaseModel


class Change(BaseModel):
    name: str | MISSING = MISSING
    note: str | MISSING | None = MISSING


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: Change):
        watchlist.update(change.model_dump())
        return watchlist

    return app
