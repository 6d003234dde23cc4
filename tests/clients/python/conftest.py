"""Where the gateway is, and what to show it."""

import os

import pytest

URL = os.environ["TIDEGATE_URL"]
TOKEN = os.environ["TIDEGATE_TOKEN"]


@pytest.fixture(scope="session")
def url() -> str:
    return URL


@pytest.fixture(scope="session")
def token() -> str:
    return TOKEN


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
