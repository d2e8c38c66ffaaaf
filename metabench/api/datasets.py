"""Where data sets come from: a local copy, the cache, or a download that is checked."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np

from metabench.errors import UserError
from metabench.records.files import cache_dir

CHECKSUM = re.compile(r"(?:md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")
RETRIES = 2
"""Times that a download which failed, or came damaged, is tried again."""


OFFLINE = "METABENCH_OFFLINE"
"""An environment variable: with any value nothing is downloaded."""


class OfflineError(Exception):
    """A download where there shall be none."""


class DataError(UserError):
    """Data that is missing or cannot be read; says where it was looked for and what to do."""


def fetch(suite: str, name: str, url: str, checksum: str) -> Path:
    """A file of a data set: from `METABENCH_DATA` (`--data`) if it lies there, else downloaded and checked.

    Looked for as `<METABENCH_DATA>/<suite>/<name>` and `<METABENCH_DATA>/<name>`. `url` is https://...; `checksum`
    is that of the download, such as "sha256:68d2...". Raises DataError.
    """
    for part in (suite, name):
        plain_name(part)
    if not url.startswith("https://"):
        raise DataError(f"Suite '{suite}' asks for {url}: data are downloaded by https:// only. Tell its author.")
    if not CHECKSUM.fullmatch(checksum):
        raise DataError(
            f"Suite '{suite}' must give the checksum of '{name}' as md5:, sha1:, sha256: or sha512: and hexadecimal "
            f"digits, not '{checksum}'. Tell its author."
        )
    local = os.environ.get("METABENCH_DATA")
    if local:
        for path in (Path(local) / suite / name, Path(local) / name):
            if os.path.isfile(path):  # unlike Path.is_file, never an error
                return path
    try:
        return download(cache_dir() / "downloads" / suite, name, url, checksum)
    except OfflineError:
        raise DataError(
            f"Suite '{suite}' needs '{name}', which is not here or damaged, and {OFFLINE} is set: see {url}."
        ) from None
    except Exception as error:  # whatever the network or the disk says, the remedy is the same
        looked = f"'{local}' (METABENCH_DATA) does not hold it, and " if local else ""
        raise DataError(
            f"Suite '{suite}' needs '{name}': {looked}downloading {url} failed ({type(error).__name__}). "
            f"Put the file into a folder '{suite}' and give its parent with --data or METABENCH_DATA."
        ) from None


@contextmanager
def no_downloads() -> Iterator[None]:
    """Data are read if they are here; a suite that would download some raises DataError instead."""
    before = os.environ.get(OFFLINE)
    os.environ[OFFLINE] = "1"
    try:
        yield
    finally:
        os.environ.pop(OFFLINE)
        if before is not None:
            os.environ[OFFLINE] = before


def download(folder: Path, name: str, url: str, checksum: str) -> Path:
    """The file in `folder`: kept if its checksum is right, else fetched, and again if that fails or is damaged."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    source = pooch.create(folder, "", registry={name: checksum}, urls={name: url}, retry_if_failed=RETRIES)
    online = pooch.HTTPDownloader(hooks={"response": stay_secure})
    return Path(source.fetch(name, downloader=refuse_download if os.environ.get(OFFLINE) else online))


def refuse_download(url: str, *to: Any) -> None:
    """In place of a download: raises OfflineError."""
    raise OfflineError(url)


def stay_secure(response: Any, *args: Any, **kwargs: Any) -> None:
    """Follow no redirection away from HTTPS. Called by `requests` with every response; raises DataError."""
    target = urljoin(response.url, response.headers.get("location", ""))
    if not target.startswith("https://"):
        raise DataError(f"{response.url} leads to {target}, which is not https://")


def plain_name(name: str) -> str:
    """The name itself; raises ValueError unless it is that of a file in its folder, and of none elsewhere."""
    if name != Path(name).name or name in ("", "..") or not name.isprintable():
        raise ValueError(f"{name!r} must be the plain name of a file or folder, without '/' or '..'")
    return name


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """One file of an archive, in memory: nothing is unpacked to disk. `limit` is in bytes.

    Raises ValueError for a link, for one that is encrypted or packed in an unusual way, or larger than it may be;
    and what `zipfile` raises for one that is damaged.
    """
    info = archive.getinfo(name)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise ValueError(f"'{name}' is a link")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"'{name}' is encrypted, or packed neither plainly nor by deflate")
    if info.file_size > limit:
        raise ValueError(f"'{name}' unpacks to {info.file_size:,} bytes, more than {limit:,}")
    return archive.read(info)  # reads no more than was declared, and compares the checksum


def cached_arrays(key: str, build: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `build` makes, kept on disk under `key`, which must change whenever the arrays would."""
    path = cache_dir() / f"{plain_name(key)}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        pass
    except Exception:  # a file cut short by a crash: make it again
        with suppress(OSError):
            path.unlink()
    arrays = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
        np.savez(temporary, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except OSError:
        pass  # a cache that cannot be written costs time, not correctness
    return arrays
