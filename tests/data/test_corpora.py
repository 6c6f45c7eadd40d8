"""Named corpora: valid cards, verified downloads, splits."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from charnn.data import corpora
from charnn.data.corpora import DEFAULT_CORPUS, Card, Catalogue, cache_folder, corpora_folder
from charnn.errors import DataError, StorageError
from tests.loopback import Loopback, loopback

TEXT = b"One should be able to read it.\n" * 100


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A web server on localhost, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "*")
    with loopback() as served:
        yield served


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """An empty catalogue with an empty cache."""
    (tmp_path / "cards").mkdir()
    return Catalogue(tmp_path / "cards", tmp_path / "cache")


def card(**known: Any) -> dict[str, Any]:
    """Return the contents of a card: the required keys and `known`."""
    keys = {"name": "a", "title": "A", "description": "B", "language": "en", "license": "CC0-1.0"}
    return keys | known


def remote(url: str, data: bytes, **known: Any) -> dict[str, Any]:
    """Return the entry of a download of `data` from `url`, with size and SHA-256."""
    digest = hashlib.sha256(data).hexdigest()
    return {"urls": [url], "bytes": len(data), "sha256": digest} | known


def put(catalogue: Catalogue, **known: Any) -> None:
    """Write a card into the folder of the catalogue."""
    text = yaml.safe_dump(card(**known))
    (catalogue.folder / f"{known.get('name', 'a')}.yaml").write_text(text)


def zipped(**members: bytes) -> bytes:
    """Return a zip archive with these members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def cached(catalogue: Catalogue) -> list[str]:
    """Return the names of all files in the cache, including temporary ones."""
    return sorted(path.name for path in catalogue.cache.rglob("*") if path.is_file())


# --- cards in corpora/ -----------------------------------------------------------------------


def test_cards_are_valid() -> None:
    """Every card can be read, and the documented corpora exist."""
    cards = Catalogue().cards
    assert {DEFAULT_CORPUS, "places", "river_town"} <= cards.keys()
    assert {"names", "tinyshakespeare", "timemachine", "ptb", "wikitext2", "text8"} <= cards.keys()
    assert {"enwik8"} <= cards.keys()
    assert list(cards) == sorted(cards)


def test_downloads_have_size_and_hash() -> None:
    """Every remote file has a size and a SHA-256, except that of `names`."""
    for name, known in Catalogue().cards.items():
        pinned = [item.sha256 is not None and item.bytes is not None for item in known.downloads]
        assert all(pinned) != (name == "names")


@pytest.mark.parametrize(
    ("name", "size", "start"),
    [("tinyshakespeare", 1_115_394, "86c4e6aa"), ("timemachine", 178_979, "8424dbd9")],
)
def test_published_sizes_and_hashes(name: str, size: int, start: str) -> None:
    """The cards of two well-known files have the published values."""
    catalogue = Catalogue()
    assert catalogue.size(name) == size
    assert str(catalogue.cards[name].downloads[0].sha256).startswith(start)


def test_corpora_are_found_in_a_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is next to the package in a checkout and inside it in a wheel."""
    assert (corpora_folder() / f"{DEFAULT_CORPUS}.yaml").is_file()
    (tmp_path / "charnn").mkdir()
    monkeypatch.setattr(corpora, "__file__", str(tmp_path / "charnn" / "data" / "corpora.py"))
    assert corpora_folder() == tmp_path / "corpora"
    (tmp_path / "charnn" / "corpora").mkdir()
    assert corpora_folder() == tmp_path / "charnn" / "corpora"


def test_cache_folder_from_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$CHARNN_CACHE_DIR, else the user's cache folder of the system."""
    monkeypatch.setenv("CHARNN_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("CHARNN_CACHE_DIR", "")
    assert cache_folder().name.lower() in ("charnn", "cache")


# --- reading cards ---------------------------------------------------------------------------

URL = "https://example.org/a.txt"


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"file": "a.txt", "downloads": [remote(URL, TEXT)]},
        {"file": "../a.txt"},
        {"file": "/etc/passwd"},
        {"file": "a.txt", "licence": "MIT"},
        {"file": "a.txt", "name": "../a"},
        {"file": "a.txt", "val_bytes": -1},
        {"downloads": [remote("http://example.org/a.txt", TEXT)]},
        {"downloads": [remote("file:///etc/passwd", TEXT)]},
        {"downloads": [{"urls": [URL], "sha256": "0" * 64}]},
        {"downloads": [{"urls": [URL], "bytes": 5}]},
        {"downloads": [{"urls": [], "bytes": 5, "sha256": "0" * 64}]},
        {"downloads": [remote(URL, TEXT) | {"sha256": "0" * 63}]},
        {"downloads": [remote(URL, TEXT, split="val")]},
        {"downloads": [remote(URL, TEXT), remote(URL, TEXT)]},
        {"downloads": [remote(URL, TEXT, members={"valid": "a"})]},
    ],
)
def test_invalid_card_is_refused(known: dict[str, Any]) -> None:
    """Unknown keys, unsafe paths and URLs, missing hashes, missing or duplicate texts."""
    with pytest.raises(ValidationError):
        Card.model_validate(card(**known))


def test_error_names_the_invalid_card(catalogue: Catalogue) -> None:
    """The error message has the path of the card."""
    put(catalogue, file="a.txt", colour="red")
    with pytest.raises(DataError, match=r"a\.yaml is not a corpus card"):
        _ = catalogue.cards


def test_card_name_must_match_file_name(catalogue: Catalogue) -> None:
    """A card whose name differs from its file name is an error."""
    (catalogue.folder / "b.yaml").write_text(yaml.safe_dump(card(file="a.txt")))
    with pytest.raises(DataError, match=r"b\.yaml has the name 'a'"):
        _ = catalogue.cards


# --- texts -----------------------------------------------------------------------------------


def test_embedded_text_needs_no_network(catalogue: Catalogue) -> None:
    """A text next to its card is read without network and cache."""
    (catalogue.folder / "a.txt").write_bytes(TEXT)
    put(catalogue, file="a.txt")
    assert catalogue.fetch("a") == {"train": TEXT}
    assert catalogue.size("a") == len(TEXT)
    assert catalogue.is_local("a")
    assert not catalogue.cache.exists()


def test_missing_embedded_text_is_a_storage_error(catalogue: Catalogue) -> None:
    """The error names the missing file."""
    put(catalogue, file="a.txt")
    with pytest.raises(StorageError, match=r"cannot read .*a\.txt: No such file"):
        catalogue.fetch("a")


def test_text_is_downloaded_once(catalogue: Catalogue, web: Loopback) -> None:
    """The second read uses the cache, without network and progress."""
    put(catalogue, downloads=[remote(web.serve("/a.txt", TEXT), TEXT)])
    assert not catalogue.is_local("a")
    progress: list[tuple[int, int]] = []
    assert catalogue.fetch("a", lambda *done: progress.append(done)) == {"train": TEXT}
    assert progress[-1] == (len(TEXT), len(TEXT))
    assert cached(catalogue) == ["a.txt"]
    assert catalogue.is_local("a")
    progress.clear()
    assert catalogue.fetch("a", lambda *done: progress.append(done)) == {"train": TEXT}
    assert web.asked == ["/a.txt"]
    assert progress == []


@pytest.mark.parametrize("damage", [TEXT[:-1], b"X" + TEXT[1:], b""])
def test_damaged_cache_is_downloaded_again(
    catalogue: Catalogue, web: Loopback, damage: bytes
) -> None:
    """The hash of a cached file is checked on each read."""
    put(catalogue, downloads=[remote(web.serve("/a.txt", TEXT), TEXT)])
    catalogue.fetch("a")
    (catalogue.cache / "a" / "a.txt").write_bytes(damage)
    assert catalogue.fetch("a") == {"train": TEXT}
    assert (catalogue.cache / "a" / "a.txt").read_bytes() == TEXT


@pytest.mark.parametrize("served", [TEXT[:-1], b"X" + TEXT[1:], TEXT + b"X"])
def test_wrong_download_is_not_cached(catalogue: Catalogue, web: Loopback, served: bytes) -> None:
    """Truncated, altered or longer files: exit 74, and the hint has the path of the cache."""
    url = web.serve("/a.txt", served)
    put(catalogue, downloads=[remote(url, TEXT)])
    with pytest.raises(StorageError) as caught:
        catalogue.fetch("a")
    assert caught.value.exit_code == 74
    assert url in caught.value.message
    assert str(catalogue.cache / "a" / "a.txt") in caught.value.hint
    assert cached(catalogue) == []


def test_manually_cached_file_is_used(catalogue: Catalogue) -> None:
    """A file copied into the cache makes a download unnecessary."""
    put(catalogue, downloads=[remote("https://example.invalid/a.txt", TEXT)])
    (catalogue.cache / "a").mkdir(parents=True)
    (catalogue.cache / "a" / "a.txt").write_bytes(TEXT)
    assert catalogue.fetch("a") == {"train": TEXT}


def test_interrupted_download_leaves_no_file(catalogue: Catalogue, web: Loopback) -> None:
    """Ctrl-C during a download is propagated, and the cache stays empty."""
    put(catalogue, downloads=[remote(web.serve("/a.txt", TEXT), TEXT)])

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catalogue.fetch("a", interrupt)
    assert cached(catalogue) == []


def test_unwritable_cache_suggests_another_folder(tmp_path: Path, web: Loopback) -> None:
    """The hint names CHARNN_CACHE_DIR."""
    (tmp_path / "cache").write_text("a file where the folder should be")
    catalogue = Catalogue(tmp_path, tmp_path / "cache")
    put(catalogue, downloads=[remote(web.serve("/a.txt", TEXT), TEXT)])
    with pytest.raises(StorageError) as caught:
        catalogue.fetch("a")
    assert "CHARNN_CACHE_DIR" in caught.value.hint


def test_download_without_hash_is_refused(catalogue: Catalogue, web: Loopback) -> None:
    """Without a SHA-256 no request is sent, and the hint has the commands for a manual download."""
    url = web.serve("/a.txt", TEXT)
    put(catalogue, lines=True, downloads=[{"urls": [url]}])
    with pytest.raises(StorageError, match="its SHA-256 is unknown") as caught:
        catalogue.fetch("a")
    assert f"curl -LO {url}; charnn prepare a.txt --lines" in caught.value.hint
    assert web.asked == []
    assert catalogue.size("a") is None


# --- splits ----------------------------------------------------------------------------------


def test_splits_in_separate_files(catalogue: Catalogue, web: Loopback) -> None:
    """One file per split, as for Penn Treebank; progress covers all of them."""
    texts = {"train": TEXT, "val": b"validation", "test": b"for the end"}
    downloads = [
        remote(web.serve(f"/{split}.txt", text), text, split=split) for split, text in texts.items()
    ]
    put(catalogue, downloads=downloads)
    progress: list[tuple[int, int]] = []
    assert catalogue.fetch("a", lambda *done: progress.append(done)) == texts
    total = sum(len(text) for text in texts.values())
    assert catalogue.size("a") == total
    assert progress[-1] == (total, total)
    assert progress == sorted(progress)


def test_splits_in_one_archive(catalogue: Catalogue, web: Loopback) -> None:
    """One member per split, as for WikiText-2; only the archive is cached."""
    texts = {"train": TEXT, "val": b"validation", "test": b"for the end"}
    packed = zipped(**{f"../{split}.tokens": text for split, text in texts.items()})
    members = {split: f"../{split}.tokens" for split in texts}
    put(catalogue, downloads=[remote(web.serve("/a.zip", packed), packed, members=members)])
    assert catalogue.fetch("a") == texts
    assert cached(catalogue) == ["a.zip"]


def test_splits_cut_from_the_end_of_one_text(catalogue: Catalogue, web: Loopback) -> None:
    """The last bytes are the test split, those before them the validation split, as for text8."""
    packed = zipped(text8=TEXT)
    item = remote(web.serve("/a.zip", packed), packed, members={"train": "text8"})
    put(catalogue, downloads=[item], val_bytes=500, test_bytes=300)
    texts = catalogue.fetch("a")
    assert texts == {"train": TEXT[:-800], "val": TEXT[-800:-300], "test": TEXT[-300:]}


@pytest.mark.parametrize("tail", range(1, 12))
def test_cut_does_not_split_utf8_characters(catalogue: Catalogue, web: Loopback, tail: int) -> None:
    """A cut inside a UTF-8 character is moved to its end."""
    data = "wide é 江 🙂 end".encode()
    item = remote(web.serve("/a.txt", data), data)
    put(catalogue, downloads=[item], val_bytes=tail, test_bytes=2)
    texts = catalogue.fetch("a")
    assert "".join(text.decode() for text in texts.values()) == data.decode()
    assert tail - 3 <= len(texts["val"]) <= tail
    assert texts["test"] == b"nd"


@pytest.mark.parametrize("packed", [zipped(other=TEXT), zipped(a=TEXT)[:-9], b"no zip at all"])
def test_invalid_archive_is_a_data_error(
    catalogue: Catalogue, web: Loopback, packed: bytes
) -> None:
    """A missing member, a truncated archive, or a file that is not an archive."""
    item = remote(web.serve("/a.zip", packed), packed, members={"train": "a"})
    put(catalogue, downloads=[item])
    with pytest.raises(DataError, match="is not the expected archive"):
        catalogue.fetch("a")


def test_archive_member_size_is_limited(
    catalogue: Catalogue, web: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that is too large is refused before it is unpacked."""
    packed = zipped(a=b"0" * 1_000_000)
    item = remote(web.serve("/a.zip", packed), packed, members={"train": "a"})
    put(catalogue, downloads=[item])
    monkeypatch.setattr(corpora, "MAX_MEMBER", 999_999)
    with pytest.raises(DataError, match="a unpacks to 1,000,000 bytes"):
        catalogue.fetch("a")
