"""Settings: explicit limits, one clear sentence for a wrong one, and no secret in any text."""

from __future__ import annotations

import traceback

import pytest

from reference_app.infra.database.engine import create_engine
from reference_app.settings import SettingsError, database_url, load_settings, normalise_database_url

URL = "postgresql://ada:hunter2@db.internal:6432/desk"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql://u:p%40%2F@h:1/d", "postgresql+asyncpg://u:p%40%2F@h:1/d"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("postgresql:///d?host=/run/pg", "postgresql+asyncpg:///d?host=/run/pg"),
    ],
)
def test_every_common_spelling_of_the_url_gets_the_async_driver(text: str, expected: str) -> None:
    assert normalise_database_url(text).replace("%2Frun%2Fpg", "/run/pg") == expected


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("DESK_DATABASE_POOL_SIZE", "7")
    settings = load_settings()
    assert settings.database_pool_size == 7
    assert database_url(settings).host == "db.internal"
    assert load_settings(database_pool_size=8).database_pool_size == 8


def test_origins_are_a_list_with_commas_and_redis_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("DESK_CORS_ORIGINS", "https://a.example, http://localhost:5173,")
    settings = load_settings(database_url=URL)
    assert settings.cors_origins == ("https://a.example", "http://localhost:5173")
    assert settings.redis_url is None
    assert "hunter2" not in repr(load_settings(database_url=URL, redis_url="redis://:hunter2@h/0"))


def test_a_missing_url_is_one_sentence_that_says_what_to_do() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert str(error.value) == (
        "DATABASE_URL is not set: set it to a URL such as postgresql://user:password@localhost:5432/desk."
    )


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"database_url": "mysql://u:hunter2@h/d"}, "only PostgreSQL"),
        ({"database_url": "hunter2"}, "expected a URL such as"),
        ({"database_url": "postgresql://u:hunter2@h:port/d"}, "expected a URL such as"),
        ({"database_url": "postgresql://u:hunter2@h"}, "the database name is missing"),
        (
            {"database_url": URL, "database_pool_size": 0},
            "DESK_DATABASE_POOL_SIZE is not valid: input should be",
        ),
        (
            {"database_url": URL, "database_pool_timeout_s": "hunter2"},
            "DESK_DATABASE_POOL_TIMEOUT_S is not valid",
        ),
        ({"database_url": URL, "database_command_timeout_s": -1}, "greater than 0"),
        ({"database_url": URL, "max_body_size_bytes": 0}, "DESK_MAX_BODY_SIZE_BYTES"),
        ({"database_url": URL, "redis_url": "hunter2"}, "REDIS_URL is not valid: expected a URL such as"),
        ({"database_url": URL, "redis_url": "http://:hunter2@h"}, "REDIS_URL is not valid"),
        ({"database_url": URL, "redis_url": "redis://:hunter2@h:port/0"}, "REDIS_URL is not valid"),
        ({"database_url": URL, "redis_url": "redis://:hunter2@h/first"}, "the database is a number"),
        ({"database_url": URL, "exchange_url": "hunter2"}, "DESK_EXCHANGE_URL is not valid"),
        ({"database_url": URL, "rate_limit": 0}, "DESK_RATE_LIMIT is not valid"),
        ({"database_url": URL, "cors_origins": "*"}, "DESK_CORS_ORIGINS is not valid: expected origins"),
        ({"database_url": URL, "cors_origins": "https://a.example/hunter2"}, "DESK_CORS_ORIGINS"),
        ({"database_url": URL, "shutdown_notice_s": 61}, "DESK_SHUTDOWN_NOTICE_S is not valid"),
    ],
)
def test_a_wrong_setting_is_a_sentence_without_its_value(overrides: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(**overrides)
    assert sentence in str(error.value)
    shown = "".join(traceback.format_exception(error.value))
    assert "hunter2" not in shown.replace(repr(overrides), "")
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


def test_a_setting_nobody_knows_is_an_error_for_callers() -> None:
    with pytest.raises(SettingsError, match="DESK_DATABASE_POOLSIZE"):
        load_settings(database_url=URL, database_poolsize=3)


def test_a_misspelt_variable_is_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_DATABASE_POOLSIZE", "3")
    with pytest.raises(SettingsError, match="not a setting: did you mean DESK_DATABASE_POOL_SIZE"):
        load_settings(database_url=URL)


def test_no_text_of_the_settings_shows_the_password() -> None:
    settings = load_settings(database_url=URL)
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(database_url(settings))):
        assert "hunter2" not in text
    assert "hunter2" not in repr(create_engine(settings))


def test_the_engine_has_every_limit_of_the_settings() -> None:
    settings = load_settings(
        database_url=URL, database_pool_size=3, database_max_overflow=2, database_pool_timeout_s=0.5
    )
    engine = create_engine(settings)
    assert (engine.pool.size(), engine.pool._max_overflow, engine.pool._timeout) == (3, 2, 0.5)  # type: ignore[attr-defined]
    assert engine.sync_engine.hide_parameters
