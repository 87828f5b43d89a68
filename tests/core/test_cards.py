"""What notebooks show of pipelines, plans and results."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from stacks import WHOLE_CHAIN, images, make_project

from pystack3d_dask.pipeline import Pipeline


class Text(HTMLParser):
    """Collects what is read, and checks that what is opened is closed."""

    def __init__(self, html):
        super().__init__()
        self.words, self.opened = [], []
        self.feed(html)
        assert not self.opened

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "img", "link")
        self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        if self.opened[-1] != "style":
            self.words.append(data)


def read(shown):
    return " ".join(Text(shown._repr_html_()).words)


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline.from_toml(make_project(tmp_path / "a & b", WHOLE_CHAIN, images()))


def test_a_pipeline_shows_stack_steps_and_state(pipeline):
    text = read(pipeline)
    assert "a & b" in text
    assert "20 slices of 64 x 50 pixels, uint8" in text
    for name in WHOLE_CHAIN:
        assert name in text
    assert "skip_factors" in text
    assert "5 passes to do" in text
    pipeline.run()
    assert "the result is complete" in read(pipeline)


def test_a_plan_shows_each_pass(pipeline):
    text = read(pipeline.plan())
    assert f"read {pipeline.plan().reads} times" in text
    assert "applies resampling; stores the result" in text
    pipeline.run()
    assert "Nothing to do" in read(pipeline.plan())


def test_a_summary_shows_passes_and_remarks(pipeline):
    summary = pipeline.run()
    text = read(summary)
    assert str(summary.result) in text
    for item in summary.passes:
        assert item.label in text
    for remark in summary.remarks:
        assert remark in text


def test_an_empty_chain_has_a_card(tmp_path):
    pipeline = Pipeline.from_toml(make_project(tmp_path / "project", [], images()))
    assert "No steps" in read(pipeline)


def test_names_cannot_become_html(tmp_path):
    channel = "<b>x"
    stacks = {channel: images()}
    pipeline = Pipeline.from_toml(make_project(tmp_path / "project", ["cropping"], stacks))
    assert channel in read(pipeline)
