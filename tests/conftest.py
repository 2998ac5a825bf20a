"""What several files of tests share."""
import pytest


@pytest.fixture
def png_alone(monkeypatch):
    "Reports leave out SVG and PDF, which take as long to draw as all else: for tests of what a page says."
    from bioplaus import report
    monkeypatch.setattr(report, "_VECTORS", {})
