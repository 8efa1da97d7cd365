"""The portfolio over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Response

from reference_app.accounts.problems import AccountNotFound
from reference_app.identity.dependencies import ACCESS_PROBLEMS, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.routing import PrefixRouter
from reference_app.infra.state import AppState
from reference_app.patterns.problem_details import documented
from reference_app.portfolio.schemas import AccountId, PortfolioOut
from reference_app.portfolio.service import PortfolioService

router = PrefixRouter(prefix="/accounts", tags=["portfolio"], responses=documented(*ACCESS_PROBLEMS))


class PortfolioState(AppState):
    """What the lifespan makes for the portfolio."""

    portfolio: PortfolioService


class PortfolioRequest(Request[PortfolioState]):
    """As `AppRequest`, with the state of the portfolio."""


@router.get("/{account_id}/portfolio", responses=documented(AccountNotFound))
async def value_portfolio(
    account_id: AccountId,
    request: PortfolioRequest,
    response: Response,
    user: Annotated[Principal, requires("portfolio:read")],
) -> PortfolioOut:
    """Value an account at the prices of now; what has no price in time is said to be missing."""
    response.headers["Cache-Control"] = "private, no-store"  # it is old before it could be used again
    return PortfolioOut.model_validate(await request.state["portfolio"].portfolio(user.id, account_id))
