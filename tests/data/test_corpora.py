"""Named corpora: sound cards, and texts that are exactly those the cards describe."""

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
    """A server on this machine, reached directly."""
    monkeypatch.setenv("no_proxy", "*")
    with loopback() as served:
        yield served


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """An empty catalogue with an empty cache."""
    (tmp_path / "cards").mkdir()
    return Catalogue(tmp_path / "cards", tmp_path / "cache")


def card(**known: Any) -> dict[str, Any]:
    """What every card says, and what is given."""
    said = {"name": "a", "title": "A", "description": "B", "language": "en", "license": "CC0-1.0"}
    return said | known


def remote(url: str, data: bytes, **known: Any) -> dict[str, Any]:
    """A download of `data` from `url`, pinned."""
    digest = hashlib.sha256(data).hexdigest()
    return {"urls": [url], "bytes": len(data), "sha256": digest} | known


def put(catalogue: Catalogue, **known: Any) -> None:
    """Write a card into the catalogue."""
    text = yaml.safe_dump(card(**known))
    (catalogue.folder / f"{known.get('name', 'a')}.yaml").write_text(text)


def zipped(**members: bytes) -> bytes:
    """A zip archive of `members`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def cached(catalogue: Catalogue) -> list[str]:
    """Every file in the cache, temporary ones too."""
    return sorted(path.name for path in catalogue.cache.rglob("*") if path.is_file())


# --- the cards of charnn ---------------------------------------------------------------------


def test_the_cards_are_sound() -> None:
    """Each can be read, and the promised corpora are among them."""
    cards = Catalogue().cards
    assert {DEFAULT_CORPUS, "places", "river_town"} <= cards.keys()
    assert {"names", "tinyshakespeare", "timemachine", "ptb", "wikitext2", "text8"} <= cards.keys()
    assert {"enwik8"} <= cards.keys()
    assert list(cards) == sorted(cards)


def test_what_is_downloaded_is_pinned() -> None:
    """Every remote file has a size and a SHA-256, but for one nobody has published."""
    for name, known in Catalogue().cards.items():
        pinned = [item.sha256 is not None and item.bytes is not None for item in known.downloads]
        assert all(pinned) != (name == "names")


@pytest.mark.parametrize(
    ("name", "size", "start"),
    [("tinyshakespeare", 1_115_394, "86c4e6aa"), ("timemachine", 178_979, "8424dbd9")],
)
def test_well_known_figures(name: str, size: int, start: str) -> None:
    """The cards agree with what the literature says of these files."""
    catalogue = Catalogue()
    assert catalogue.size(name) == size
    assert str(catalogue.cards[name].downloads[0].sha256).startswith(start)


def test_corpora_are_found_in_a_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the package in a checkout, inside it where it was installed."""
    assert (corpora_folder() / f"{DEFAULT_CORPUS}.yaml").is_file()
    (tmp_path / "charnn").mkdir()
    monkeypatch.setattr(corpora, "__file__", str(tmp_path / "charnn" / "data" / "corpora.py"))
    assert corpora_folder() == tmp_path / "corpora"
    (tmp_path / "charnn" / "corpora").mkdir()
    assert corpora_folder() == tmp_path / "charnn" / "corpora"


def test_the_cache_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$CHARNN_CACHE_DIR, else the folder that the system has for this."""
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
def test_a_bad_card_is_refused(known: dict[str, Any]) -> None:
    """Unknown keys, unsafe places, missing hashes and missing or doubled texts."""
    with pytest.raises(ValidationError):
        Card.model_validate(card(**known))


def test_a_bad_card_is_named(catalogue: Catalogue) -> None:
    """The error says which file it is in."""
    put(catalogue, file="a.txt", colour="red")
    with pytest.raises(DataError, match=r"a\.yaml is not a corpus card"):
        _ = catalogue.cards


def test_a_card_and_its_file_have_one_name(catalogue: Catalogue) -> None:
    """So that a corpus is found where it is looked for."""
    (catalogue.folder / "b.yaml").write_text(yaml.safe_dump(card(file="a.txt")))
    with pytest.raises(DataError, match=r"b\.yaml is called a inside"):
        _ = catalogue.cards


# --- texts -----------------------------------------------------------------------------------


def test_an_embedded_text(catalogue: Catalogue) -> None:
    """It lies beside its card, and needs no network and no cache."""
    (catalogue.folder / "a.txt").write_bytes(TEXT)
    put(catalogue, file="a.txt")
    assert catalogue.fetch("a") == {"train": TEXT}
    assert catalogue.size("a") == len(TEXT)
    assert catalogue.is_local("a")
    assert not catalogue.cache.exists()


def test_an_embedded_text_that_is_gone(catalogue: Catalogue) -> None:
    """A broken installation is told as what it is."""
    put(catalogue, file="a.txt")
    with pytest.raises(StorageError, match=r"cannot read .*a\.txt: No such file"):
        catalogue.fetch("a")


def test_a_text_is_downloaded_once(catalogue: Catalogue, web: Loopback) -> None:
    """Then it comes from the cache, without the network and without progress."""
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
def test_a_damaged_cache_is_mended(catalogue: Catalogue, web: Loopback, damage: bytes) -> None:
    """What lies in the cache is checked each time, and fetched again where it is wrong."""
    put(catalogue, downloads=[remote(web.serve("/a.txt", TEXT), TEXT)])
    catalogue.fetch("a")
    (catalogue.cache / "a" / "a.txt").write_bytes(damage)
    assert catalogue.fetch("a") == {"train": TEXT}
    assert (catalogue.cache / "a" / "a.txt").read_bytes() == TEXT


@pytest.mark.parametrize("served", [TEXT[:-1], b"X" + TEXT[1:], TEXT + b"X"])
def test_nothing_wrong_is_kept(catalogue: Catalogue, web: Loopback, served: bytes) -> None:
    """Too short, altered, too long: exit 74, an empty cache, and where to put the file by hand."""
    url = web.serve("/a.txt", served)
    put(catalogue, downloads=[remote(url, TEXT)])
    with pytest.raises(StorageError) as caught:
        catalogue.fetch("a")
    assert caught.value.exit_code == 74
    assert url in caught.value.message
    assert str(catalogue.cache / "a" / "a.txt") in caught.value.hint
    assert cached(catalogue) == []


def test_a_file_put_there_by_hand_is_taken(catalogue: Catalogue) -> None:
    """The way out for a machine without a network."""
    put(catalogue, downloads=[remote("https://example.invalid/a.txt", TEXT)])
    (catalogue.cache / "a").mkdir(parents=True)
    (catalogue.cache / "a" / "a.txt").write_bytes(TEXT)
    assert catalogue.fetch("a") == {"train": TEXT}


def test_an_interrupt_leaves_nothing(catalogue: Catalogue, web: Loopback) -> None:
    """Ctrl-C during a download passes on, and the cache stays empty."""
    put(catalogue, downloads=[remote(web.serve("/a.txt", TEXT), TEXT)])

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catalogue.fetch("a", interrupt)
    assert cached(catalogue) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, web: Loopback) -> None:
    """The error says how to move it."""
    (tmp_path / "cache").write_text("a file where the folder should be")
    catalogue = Catalogue(tmp_path, tmp_path / "cache")
    put(catalogue, downloads=[remote(web.serve("/a.txt", TEXT), TEXT)])
    with pytest.raises(StorageError) as caught:
        catalogue.fetch("a")
    assert "CHARNN_CACHE_DIR" in caught.value.hint


def test_what_cannot_be_checked_is_not_fetched(catalogue: Catalogue, web: Loopback) -> None:
    """Without a SHA-256 charnn asks no server, and says what to type instead."""
    url = web.serve("/a.txt", TEXT)
    put(catalogue, lines=True, downloads=[{"urls": [url]}])
    with pytest.raises(StorageError, match="no SHA-256 is known") as caught:
        catalogue.fetch("a")
    assert f"curl -LO {url}; charnn prepare a.txt --lines" in caught.value.hint
    assert web.asked == []
    assert catalogue.size("a") is None


# --- splits ----------------------------------------------------------------------------------


def test_splits_in_files_of_their_own(catalogue: Catalogue, web: Loopback) -> None:
    """As Penn Treebank comes; progress runs over all of them."""
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
    """As WikiText-2 comes; the archive is kept, its members are not written out."""
    texts = {"train": TEXT, "val": b"validation", "test": b"for the end"}
    packed = zipped(**{f"../{split}.tokens": text for split, text in texts.items()})
    members = {split: f"../{split}.tokens" for split in texts}
    put(catalogue, downloads=[remote(web.serve("/a.zip", packed), packed, members=members)])
    assert catalogue.fetch("a") == texts
    assert cached(catalogue) == ["a.zip"]


def test_splits_cut_from_the_end(catalogue: Catalogue, web: Loopback) -> None:
    """As text8 and enwik8 are divided: so many bytes for testing, before them the validation."""
    packed = zipped(text8=TEXT)
    item = remote(web.serve("/a.zip", packed), packed, members={"train": "text8"})
    put(catalogue, downloads=[item], val_bytes=500, test_bytes=300)
    texts = catalogue.fetch("a")
    assert texts == {"train": TEXT[:-800], "val": TEXT[-800:-300], "test": TEXT[-300:]}


@pytest.mark.parametrize("tail", range(1, 12))
def test_a_cut_spares_characters(catalogue: Catalogue, web: Loopback, tail: int) -> None:
    """A cut inside a UTF-8 character moves to its end: each part can be decoded."""
    data = "wide é 江 🙂 end".encode()
    item = remote(web.serve("/a.txt", data), data)
    put(catalogue, downloads=[item], val_bytes=tail, test_bytes=2)
    texts = catalogue.fetch("a")
    assert "".join(text.decode() for text in texts.values()) == data.decode()
    assert tail - 3 <= len(texts["val"]) <= tail
    assert texts["test"] == b"nd"


@pytest.mark.parametrize("packed", [zipped(other=TEXT), zipped(a=TEXT)[:-9], b"no zip at all"])
def test_an_archive_that_is_none(catalogue: Catalogue, web: Loopback, packed: bytes) -> None:
    """A member that is missing, a cut end, or something else: an error, not a traceback."""
    item = remote(web.serve("/a.zip", packed), packed, members={"train": "a"})
    put(catalogue, downloads=[item])
    with pytest.raises(DataError, match="is not the archive its card describes"):
        catalogue.fetch("a")


def test_a_member_is_bounded(
    catalogue: Catalogue, web: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that unpacks to more than the stated size is refused before it is unpacked."""
    packed = zipped(a=b"0" * 1_000_000)
    item = remote(web.serve("/a.zip", packed), packed, members={"train": "a"})
    put(catalogue, downloads=[item])
    monkeypatch.setattr(corpora, "MAX_MEMBER", 999_999)
    with pytest.raises(DataError, match="a has 1,000,000 bytes unpacked"):
        catalogue.fetch("a")
