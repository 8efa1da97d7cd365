# rejected by test_null_deletes_the_note: null is refused, and the note can only be emptied
from fastapi import FastAPI
from pydantic import BaseModel


class Change(BaseModel):
    name: str = ""
    note: str = ""


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: Change):
        watchlist.update(change.model_dump(exclude_unset=True))
        return watchlist

    return app
