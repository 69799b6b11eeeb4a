"""Ways in which a disk, or somebody, damages a home; each drawn by chance."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from homes import COUNT, edit_manifest

_PAGE = 4096


@dataclass(frozen=True)
class Homes:
    """What damage is drawn from."""

    home: Path
    """That is damaged."""
    older: Path
    """As it was before the second generation came."""
    other: Path
    """Of other sources and vectors under the same names."""


Damage = Callable[[Homes, Random], object]


def _database(homes: Homes) -> Path:
    return homes.home / "twinjet.sqlite"


def _folder(homes: Homes, number: int = 2) -> Path:
    return homes.home / "generations" / f"g{number:06d}"


def _file(homes: Homes, rng: Random) -> Path:
    """Of the generation in force, the manifest as often as others."""
    path = rng.choice(sorted(_folder(homes).iterdir()))
    path.chmod(0o644)
    return path


def _flip(path: Path, rng: Random, bits: int = 1) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(bits):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _zero(path: Path, rng: Random) -> None:
    size = path.stat().st_size
    start = rng.randrange(size) // 512 * 512
    length = min(rng.choice([512, _PAGE]), size - start)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(length))


def _swap_pages(path: Path, rng: Random) -> None:
    data = bytearray(path.read_bytes())
    one, two = rng.sample(range(len(data) // _PAGE), 2)
    a, b = slice(one * _PAGE, (one + 1) * _PAGE), slice(two * _PAGE, (two + 1) * _PAGE)
    data[a], data[b] = data[b], data[a]
    path.write_bytes(data)


def _sql(homes: Homes, *statements: str) -> None:
    with closing(sqlite3.connect(_database(homes))) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def _swap_rows(homes: Homes, rng: Random) -> None:
    one, two = rng.sample(range(COUNT), 2)
    of = "UPDATE source SET row = {} WHERE generation = 2 AND row = {}"
    _sql(homes, of.format(-1, one), of.format(one, two), of.format(two, -1))


def _swap_value(homes: Homes, rng: Random) -> None:
    one, two = rng.sample(range(COUNT), 2)
    name = rng.choice(["ra", "source_key", "columns", "cutout", "healpix", "x"])
    at = "WHERE generation = 2 AND row ="
    value = f"SELECT {name} FROM source {at} {two}"  # noqa: S608 - ours
    _sql(homes, f"UPDATE source SET {name} = ({value}) {at} {one}")  # noqa: S608


def _change_value(homes: Homes, rng: Random) -> None:
    change = rng.choice(
        [
            "ra = ra + 1e-9",
            "dec = -dec",
            "z = z + 1e-16",
            "healpix = healpix + 1",
            "source_id = source_id || 'a'",
            "source_key = upper(source_key) || 'z'",
            "survey = NULL",
            "survey = 'Survey'",
            "cutout = 'other.fits'",
            "columns = replace(columns, '\"a\"', '\"b\"')",
            "columns = '{}'",
            f"generation = 1, row = {COUNT}",
        ]
    )
    row = 2 * rng.randrange(COUNT // 2)
    _sql(homes, f"UPDATE source SET {change} WHERE generation = 2 AND row = {row}")  # noqa: S608


def _lose_row(homes: Homes, rng: Random) -> None:
    row = rng.randrange(COUNT)
    _sql(homes, f"DELETE FROM source WHERE generation = 2 AND row = {row}")  # noqa: S608


def _change_generation(homes: Homes, rng: Random) -> None:
    change = rng.choice(
        [
            "encoder_id = 'ffffffffffffffff'",
            "columns = '[]'",
            "columns = 'no JSON'",
            "created_at = 'no moment'",
            "folder = 'g000001'",
            "folder = 'g000003'",
            f"source_count = {COUNT - 1}",
            "catalogue_digest = 'x'",
            "rows_sha256 = 'x'",
            "manifest_sha256 = 'x'",
            "state = 'reedy'",
        ]
    )
    _sql(homes, f"UPDATE generation SET {change} WHERE number = 2")  # noqa: S608


def _swap_generations(homes: Homes, _: Random) -> None:
    _sql(
        homes,
        "PRAGMA foreign_keys = OFF",
        "UPDATE source SET generation = 9 WHERE generation = 1",
        "UPDATE source SET generation = 1 WHERE generation = 2",
        "UPDATE source SET generation = 2 WHERE generation = 9",
    )


def _swap_files(homes: Homes, rng: Random) -> None:
    name = rng.choice(sorted(p.name for p in _folder(homes).iterdir()))
    one, two = _folder(homes, 1) / name, _folder(homes) / name
    spare = one.with_name("spare")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def _swap_folders(homes: Homes, _: Random) -> None:
    one, two = _folder(homes, 1), _folder(homes)
    spare = one.with_name("spare")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def _older_file(homes: Homes, rng: Random) -> None:
    """A file of another build of the same number, of the same size."""
    path = _file(homes, rng)
    shutil.copyfile(homes.other / path.relative_to(homes.home), path)


def _older_folder(homes: Homes, _: Random) -> None:
    shutil.rmtree(_folder(homes))
    other = homes.other / _folder(homes).relative_to(homes.home)
    shutil.copytree(other, _folder(homes))


def _older_database(homes: Homes, rng: Random) -> None:
    source = rng.choice([homes.older, homes.other])
    shutil.copyfile(source / "twinjet.sqlite", _database(homes))


def _edited_manifest(homes: Homes, rng: Random) -> None:
    folder = _folder(homes)
    manifest = json.loads((folder / "manifest.json").read_text())
    files = json.loads(json.dumps(manifest["files"]))
    name = rng.choice(sorted(files))
    files[name]["sha256"] = "0" * 64
    edit_manifest(
        folder,
        **rng.choice(
            [
                {"count": manifest["count"] - 1},
                {"number": 1},
                {"dimension": 8},
                {"catalogue_digest": "x"},
                {"recall_at_10": 0.5},
                {"cutouts": "/elsewhere"},
                {"calibration": None},
                {"metric": "euclidean"},
                {"format": 2},
                {"files": files},
                {"files": {}},
            ]
        ),
    )


def _wrong_encoder(homes: Homes, _: Random) -> None:
    edit_manifest(_folder(homes), encoder_id="f" * 16)


def _wrong_encoder_everywhere(homes: Homes, _: Random) -> None:
    edit_manifest(_folder(homes), encoder_id="f" * 16)
    _sql(homes, "UPDATE generation SET encoder_id = 'ffffffffffffffff'")


def _resealed_rows(homes: Homes, rng: Random) -> None:
    """Whoever writes to the database does not know what a seal is made of."""
    _swap_rows(homes, rng)
    _sql(homes, f"UPDATE generation SET rows_sha256 = '{'0' * 64}'")  # noqa: S608


def _shortened(path: Path, rng: Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def _lengthened(path: Path, rng: Random) -> None:
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.choice([1, 512])))


KINDS: dict[str, Damage] = {
    "file: a bit": lambda h, r: _flip(_file(h, r), r),
    "file: some bits": lambda h, r: _flip(_file(h, r), r, 8),
    "file: shortened": lambda h, r: _shortened(_file(h, r), r),
    "file: lengthened": lambda h, r: _lengthened(_file(h, r), r),
    "file: a page of zeros": lambda h, r: _zero(_file(h, r), r),
    "file: gone": lambda h, r: _file(h, r).unlink(),
    "files swapped": _swap_files,
    "folders swapped": _swap_folders,
    "file of another build": _older_file,
    "folder of another build": _older_folder,
    "manifest edited": _edited_manifest,
    "wrong encoder": _wrong_encoder,
    "wrong encoder, in the database too": _wrong_encoder_everywhere,
    "database: a bit": lambda h, r: _flip(_database(h), r),
    "database: some bits": lambda h, r: _flip(_database(h), r, 8),
    "database: shortened": lambda h, r: _shortened(_database(h), r),
    "database: a page of zeros": lambda h, r: _zero(_database(h), r),
    "database: pages swapped": lambda h, r: _swap_pages(_database(h), r),
    "database of another day": _older_database,
    "rows swapped": _swap_rows,
    "rows swapped, seal broken": _resealed_rows,
    "values swapped": _swap_value,
    "value changed": _change_value,
    "row lost": _lose_row,
    "generation's row changed": _change_generation,
    "generations swapped in the database": _swap_generations,
}
