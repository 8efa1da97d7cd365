"""What identity takes and says on the wire. A password goes in and never comes out."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from reference_app.identity.models import NAME_PATTERN

MIN_PASSWORD_LENGTH = 12
#: Longer than any phrase a person types; without a bound, a megabyte would be hashed.
MAX_PASSWORD_LENGTH = 128

#: SecretStr: it shows as ********** in logs, reprs and tracebacks.
Password = Annotated[
    SecretStr,
    Field(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH, examples=["correct horse"]),
]


class UserIn(BaseModel):
    """A new user."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=NAME_PATTERN, examples=["margaret"])
    password: Password


class UserOut(BaseModel):
    """A user, without the password."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    name: str
    scopes: list[str] = Field(description="What tokens of this user may carry.")
    joined_at: dt.datetime


class PasswordGrant(BaseModel):
    """The form of RFC 6749 section 4.3.2, as OAuth2 clients send it."""

    grant_type: Literal["password"]
    username: str = Field(min_length=1, max_length=100, examples=["margaret"])
    password: SecretStr = Field(min_length=1, max_length=1000, examples=["correct horse"])
    scope: str = Field(
        default="", max_length=500, description="Scopes with spaces between; empty: all that the user may."
    )


class TokenOut(BaseModel):
    """The answer of RFC 6749 section 5.1."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of the kind
    expires_in: int = Field(description="Seconds.")
    scope: str
