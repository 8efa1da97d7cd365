from fastapi import FastAPI
from pydantic import BaseModel, field_validator


class Change(BaseModel):
    name: str | None = None
    note: str | None = None

    @field_validator("name")
    @classmethod
    def is_no_null(cls, value):
        if value is None:
            raise ValueError("a watchlist needs a name")
        return value


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: Change):
        for field in change.model_fields_set:
            watchlist[field] = getattr(change, field)
        return watchlist

    return app
