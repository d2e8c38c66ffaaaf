"""Downloads: plain names, https and a checksum alone; broken ones are tried again, bad ones leave nothing."""

from __future__ import annotations

import hashlib
import os

import pytest

from metabench.api import datasets


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\nb", "a\0b", "a/", "./a"])
def test_names_of_data_cannot_leave_their_folder(place, name):
    for use in (
        lambda: datasets.cached_arrays(name, dict),
        lambda: datasets.fetch("suite", name, "https://example.org/x", "md5:" + "0" * 32),
        lambda: datasets.fetch(name, "file", "https://example.org/x", "md5:" + "0" * 32),
    ):
        with pytest.raises(ValueError, match="must be the plain name of a file or folder"):
            use()
    assert not (place.parent / "cache").exists()


@pytest.mark.parametrize(
    ("url", "checksum", "message"),
    [
        *((url, "md5:" + "0" * 32, "data are downloaded by https:// only")
          for url in ("http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "", "HTTPS://example.org")),
        *(("https://example.org/x", checksum, "must give the checksum of 'x.zip'")
          for checksum in ("", "md5:", "0" * 32, "md5:" + "g" * 32, "sha256:" + "0" * 32, "crc32:00000000")),
    ],
)  # fmt: skip
def test_downloads_are_by_https_with_a_checksum(place, url, checksum, message):
    with pytest.raises(datasets.DataError, match=message):
        datasets.fetch("suite", "x.zip", url, checksum)


def test_offline_nothing_is_downloaded_and_what_is_here_is_read(place, monkeypatch):
    wanted = ("suite", "x.zip", "https://example.org/x.zip", "sha256:" + hashlib.sha256(b"data").hexdigest())
    monkeypatch.setenv("METABENCH_CACHE", str(place / "cache"))
    refused = "which is not here or damaged, and METABENCH_OFFLINE"
    with datasets.no_downloads(), pytest.raises(datasets.DataError, match=refused):
        datasets.fetch(*wanted)
    monkeypatch.setenv(datasets.OFFLINE, "1")
    kept = datasets.cache_dir() / "downloads" / "suite" / "x.zip"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(b"damaged")
    with pytest.raises(datasets.DataError, match=refused):
        datasets.fetch(*wanted)
    kept.write_bytes(b"data")
    with datasets.no_downloads():
        assert datasets.fetch(*wanted) == kept
    assert os.environ[datasets.OFFLINE] == "1", "as it was before"


class Answer:
    """What requests.get gives; breaks off after some bytes if told so."""

    status_code = 200

    def __init__(self, content: bytes, breaks: bool = False) -> None:
        self.content, self.breaks, self.headers = content, breaks, {"content-length": str(len(content))}

    def raise_for_status(self) -> None:
        pass

    def iter_content(self, chunk_size: int):
        import requests

        yield self.content[: len(self.content) // 2]
        if self.breaks:
            raise requests.exceptions.ConnectionError("broken off")
        yield self.content[len(self.content) // 2 :]


@pytest.mark.parametrize(
    ("answers", "good"),
    [("g", True), ("bg", True), ("bwg", True), ("wg", True), ("bbb", False), ("www", False), ("wbw", False)],
)
def test_downloads_are_tried_again_and_checked(place, monkeypatch, answers, good):
    """g: good, b: broken off, w: the wrong content."""
    import requests

    queue = list(answers)
    made = {"g": lambda: Answer(b"content"), "b": lambda: Answer(b"content", True), "w": lambda: Answer(b"contend")}
    monkeypatch.setattr(requests, "get", lambda url, **rest: made[queue.pop(0)]())
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    checksum = "sha256:" + hashlib.sha256(b"content").hexdigest()
    if good:
        assert datasets.fetch("suite", "x", "https://example.org/x", checksum).read_bytes() == b"content"
        assert datasets.fetch("suite", "x", "https://example.org/x", checksum).read_bytes() == b"content"
    else:
        with pytest.raises(
            datasets.DataError, match=r"^Suite 'suite' needs 'x': downloading https://example.org/x failed"
        ):
            datasets.fetch("suite", "x", "https://example.org/x", checksum)
        assert [path for path in (place.parent / "cache").rglob("*") if path.is_file()] == []
    assert queue == []


@pytest.mark.parametrize("target", ["http://example.org/x", "//example.org/x", "https://other.org/", "/y", "ftp://x"])
def test_downloads_follow_no_redirection_away_from_https(target):
    import requests

    response = requests.Response()
    response.url, response.headers["location"] = "https://example.org/x", target
    if target.startswith(("http:", "ftp:")):
        with pytest.raises(datasets.DataError, match="which is not https://"):
            datasets.stay_secure(response)
    else:
        datasets.stay_secure(response)
