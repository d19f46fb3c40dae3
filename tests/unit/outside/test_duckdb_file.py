from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eiderd.errors import SourceUnavailable
from eiderd.outside import checksum, duckdb_file
from eiderd.outside.duckdb_file import HEADER_BYTES, PAGE

HERE = Path("x.duckdb")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real database: several blocks, several checkpoints."""
    path = tmp_path_factory.mktemp("db") / "real.duckdb"
    with duckdb.connect(str(path)) as connection:
        for number in range(3):
            connection.execute(
                f"CREATE TABLE t{number} AS SELECT range i, md5(range::VARCHAR) s FROM range(50000)"
            )
            connection.execute("CHECKPOINT")
    return path


@pytest.mark.parametrize("block_size", [16384, 262144])
def test_headers_of_real_files(tmp_path: Path, block_size: int) -> None:
    path = tmp_path / "x.duckdb"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS x (BLOCK_SIZE {block_size})")
        connection.execute("CREATE TABLE x.t AS SELECT range i FROM range(10)")
        connection.execute("CHECKPOINT x")
    headers = duckdb_file.read_headers(path.read_bytes()[:HEADER_BYTES], of=path)
    assert headers.block_size == block_size
    assert headers.engine == f"v{duckdb.__version__}"
    assert not headers.encrypted
    assert headers.iteration
    assert headers.block_count == (path.stat().st_size - HEADER_BYTES) // block_size


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "is empty"), (b"x" * 5000, "ends after 5000"), (b"x" * HEADER_BYTES, "not a DuckDB")],
)
def test_what_is_no_database_is_said_to_be_none(data: bytes, said: str) -> None:
    with pytest.raises(SourceUnavailable, match=said) as caught:
        duckdb_file.read_headers(data, of=HERE)
    assert caught.value.hint


def test_a_header_that_cannot_be_right_is_refused(database: Path) -> None:
    pages = bytearray(database.read_bytes()[:HEADER_BYTES])
    for page in (PAGE, 2 * PAGE):
        struct.pack_into("<Q", pages, page + 40, 12345)
    with pytest.raises(SourceUnavailable, match="no usable database header"):
        duckdb_file.read_headers(bytes(pages), of=HERE)


def test_every_block_of_a_real_file_is_sound(database: Path) -> None:
    data = database.read_bytes()[HEADER_BYTES:]
    assert checksum.sound(data, 262144).all()
    pages = database.read_bytes()[:HEADER_BYTES]
    assert checksum.sound(pages, PAGE).tolist() == [True, True, True]


@given(st.integers(min_value=0, max_value=262143), st.integers(min_value=1, max_value=255))
def test_any_changed_byte_makes_a_block_unsound(offset: int, flip: int) -> None:
    words = np.arange(262144 // 8, dtype="<u8") * 0x9E3779B97F4A7C15
    words[0] = np.bitwise_xor.reduce(words[1:] * np.uint64(0xBF58476D1CE4E5B9)) ^ np.uint64(5381)
    block = bytearray(words.tobytes())
    assert checksum.sound(bytes(block), 262144).all()
    block[offset] ^= flip
    assert not checksum.sound(bytes(block), 262144).any()


@given(st.lists(st.integers(min_value=1, max_value=400_000), min_size=1, max_size=30))
def test_a_stream_is_audited_the_same_in_any_pieces(pieces: list[int]) -> None:
    data = _AUDITED
    audit = checksum.BlockAudit(of=HERE)
    offset = 0
    for size in pieces:
        audit.feed(data[offset : offset + size])
        offset += size
    audit.feed(data[offset:])
    assert audit.finish() == _WHOLE


def _audited() -> tuple[bytes, checksum.Blocks]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute("CREATE TABLE t AS SELECT range i FROM range(200000)")
        data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 100_000] ^= 1  # one unsound block
    data += bytes(262144)  # one that was never written
    audit = checksum.BlockAudit(of=HERE)
    audit.feed(bytes(data))
    whole = audit.finish()
    assert whole is not None
    return bytes(data), whole


_AUDITED, _WHOLE = _audited()


def test_the_audit_counts() -> None:
    assert (_WHOLE.unsound, _WHOLE.blank, _WHOLE.headers_sound) == (1, 1, True)
    assert _WHOLE.total == _WHOLE.sound + 2


# The write-ahead log


@pytest.fixture(scope="module")
def wal(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """Sizes of a real WAL before and after each statement, and its bytes."""
    path = tmp_path_factory.mktemp("wal") / "x.duckdb"
    log = Path(f"{path}.wal")
    sizes: dict[str, tuple[int, int]] = {}
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE base (i INTEGER)")
        connection.execute("CHECKPOINT")
        connection.execute("INSERT INTO base VALUES (0)")
        for name, statement in _STATEMENTS.items():
            before = log.stat().st_size
            connection.execute(statement)
            sizes[name] = (before, log.stat().st_size)
        _WAL["bytes"] = log.read_bytes()
    return sizes


_WAL: dict[str, bytes] = {}
_STATEMENTS = {
    "insert": "INSERT INTO base VALUES (1), (2)",
    "update": "UPDATE base SET i = i + 1",
    "delete": "DELETE FROM base WHERE i = 2",
    "create": "CREATE TABLE big AS SELECT range i FROM range(300000)",
    "index": "CREATE INDEX base_i ON base (i)",
    "sequence": "CREATE SEQUENCE s",
    "drop": "DROP TABLE big",
    "insert again": "INSERT INTO base VALUES (3)",
    "alter": "ALTER TABLE base ADD COLUMN j INTEGER",
}
_FREES = {"drop", "alter"}


def _read(offset: int, length: int) -> bytes:
    return _WAL["bytes"][offset : offset + length]


@pytest.mark.parametrize("name", _STATEMENTS)
def test_only_what_may_free_blocks_is_said_to(wal: dict[str, tuple[int, int]], name: str) -> None:
    since, size = wal[name]
    assert since < size
    assert duckdb_file.may_free_blocks(_read, since=since, size=size) == (name in _FREES)


def test_frames_reach_the_end_of_a_real_wal(wal: dict[str, tuple[int, int]]) -> None:
    size = len(_WAL["bytes"])
    frames = list(duckdb_file.wal_frames(_read, size) or ())
    assert frames[-1] == (size, 100)
    assert all(kind for _end, kind in frames)


def test_a_torn_or_foreign_tail_is_not_trusted(wal: dict[str, tuple[int, int]]) -> None:
    size = len(_WAL["bytes"])
    whole = _WAL["bytes"]
    garbage = whole + b"\x20" + bytes(7) + b"garbage!" + b"?" * 100
    assert duckdb_file.may_free_blocks(
        lambda o, n: garbage[o : o + n], since=size, size=len(garbage)
    )
    assert duckdb_file.may_free_blocks(lambda o, n: b"?" * 500, since=0, size=500)
    assert not duckdb_file.may_free_blocks(_read, since=size, size=size)
