"""What the ledger takes and says on the wire. Amounts are strings: a JSON number would lose digits."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from reference_app.accounts.models import CURRENCY, TransactionKind
from reference_app.patterns.money import Money, PositiveMoney

AccountId = Annotated[uuid.UUID, Path(description="As `POST /v1/accounts` returned it.")]
MAX_ENTRY_ID = 2**63 - 1
EntryId = Annotated[int, Path(ge=1, le=MAX_ENTRY_ID)]


class AccountIn(BaseModel):
    """A new cash account."""

    model_config = ConfigDict(extra="forbid")

    # No control characters: PostgreSQL cannot store NUL, and a name with newlines forges log lines.
    name: str = Field(
        min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", examples=["Margaret's savings"]
    )


class AccountOut(BaseModel):
    """A cash account and its balance now."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    name: str
    currency: Literal["USD"] = CURRENCY
    balance: Money
    minimum_balance: Money = Field(description="The balance never falls below it.")
    opened_at: dt.datetime


class MovementIn(BaseModel):
    """An amount to deposit or withdraw."""

    model_config = ConfigDict(extra="forbid")

    amount: PositiveMoney = Field(examples=["250.00"])


class EntryOut(BaseModel):
    """What one transaction did to one account."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    transaction_id: int
    kind: TransactionKind
    amount: Money = Field(description="Added to the balance; below zero: taken.")
    balance_after: Money
    posted_at: dt.datetime
