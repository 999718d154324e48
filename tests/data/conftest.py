import pytest

from tf_simclr.data import check


@pytest.fixture
def headers_only(monkeypatch):
    """For tests of which files are found; whether all of each decodes is for test_check.py, and takes long to find out."""
    monkeypatch.setattr(check, "_undecodable", lambda *_: {})
