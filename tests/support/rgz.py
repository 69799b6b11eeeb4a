"""A small release of Radio Galaxy Zoo, and the record that holds it."""

import io
import json
import tarfile
from hashlib import md5

from archives import Archive

from twinjet.index.ingest.rgz import HOST_TABLE, RADIO_TABLE

RADIO = "CatID,RGZID,ZooniverseID,RA,Dec,N_votes,N_total,CL,N_comp,N_peaks,LAE,TSA,OL,TF,TF_err,DC"  # noqa: E501 - one line
HOSTS = "#CatID,RGZID,ZooniverseID,Host_RA,Host_Dec,WISEID,W1mag,N^WISE_MATCH,z_phot0"
ROWS = [
    "1,RGZ_J000000.0+014816,ARG1,359.9999,1.8,18,21,0.70,2,3,50.5,80,0.6,12.5,0.4,0",
    "2,RGZ_J000000.2+014816,ARG2,0.0006,1.8,20,21,0.95,2,3,51,81,0.6,12.6,0.4,0",
    "3,RGZ_J100000.0+200000,ARG3,150.0,20.0,9,10,1.0,1,1,20,10,0.5,3,0.1,0",
    "4,RGZ_J100000.0+200000,ARG4,150.0,20.01,9,10,1.0,1,1,20,10,0.5,3,0.1,0",
    "5,RGZ_J110000.0+200000,ARG5,165.0,95.0,9,10,1.0,1,1,20,10,0.5,3,0.1,0",
]
HOST_ROWS = [
    "2,RGZ_J000000.2+014816,ARG2,0.0007,1.8001,J0000,14.2,1,0.31",
    "4,RGZ_J100000.0+200000,ARG4,150.0,20.011,J1000,15.1,2,",
]


def packed(**tables: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, text in tables.items():
            member = tarfile.TarInfo(f"RGZ_DR1/{name}.csv")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return file.getvalue()


def release(radio: list[str] = ROWS, hosts: list[str] = HOST_ROWS) -> bytes:
    return packed(
        **{
            RADIO_TABLE.removesuffix(".csv"): "\n".join([RADIO, *radio]),
            HOST_TABLE.removesuffix(".csv"): "\n".join([HOSTS, *hosts]),
        }
    )


# Made once: gzip writes the time.
RELEASE = release()


def keep_record(archive: Archive, name: str) -> None:
    """Have a server answer for record 7, under two addresses of its API."""
    record = {
        "files": [
            {
                "key": name,
                "checksum": f"md5:{md5(RELEASE, usedforsecurity=False).hexdigest()}",
                "links": {"self": f"{archive.url}/api/files/tables/content"},
            }
        ]
    }
    for start in ("/api", "/v2/api"):
        archive.files[f"{start}/records/7"] = json.dumps(record).encode()
        archive.files[f"{start}/files/tables/content"] = RELEASE
