"""A public archive on this machine: real formats, and faults on demand."""

import io
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from skies import PIXEL_SCALE_ARCSEC, double_source, header_at

# South of it the survey has blanks only, and beyond the last not even these.
BLANK_SOUTH_OF, ZERO_SOUTH_OF, PAGE_SOUTH_OF = -40.0, -50.0, -60.0
NOTHING_SOUTH_OF = -70.0

# Plenty: no test asks for the same without meaning it.
_FAULT_BYTES = 64 * 2**20

SIA_FIELDS = """
<FIELD name="obs_id" datatype="char" arraysize="*"/>
<FIELD name="obs_publisher_did" ID="did" datatype="char" arraysize="*"/>
<FIELD name="dataproduct_type" datatype="char" arraysize="*"/>
<FIELD name="s_ra" datatype="double" unit="deg"/>
<FIELD name="s_dec" datatype="double" unit="deg"/>
<FIELD name="access_url" datatype="char" arraysize="*"/>
<FIELD name="access_format" datatype="char" arraysize="*"/>
"""
LINK_FIELDS = """
<FIELD name="ID" ID="did" datatype="char" arraysize="*"/>
<FIELD name="access_url" datatype="char" arraysize="*"/>
<FIELD name="service_def" datatype="char" arraysize="*"/>
<FIELD name="semantics" datatype="char" arraysize="*"/>
"""
DATALINK = "application/x-votable+xml;content=datalink"


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    at: float
    date: datetime
    method: str
    path: str
    fields: dict[str, str]
    headers: dict[str, str]


@dataclass
class Archive:
    """What the server was asked, and how it behaves."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    faults: deque[str] = field(default_factory=deque)
    """For the next requests, one each."""
    always: str | None = None
    """Fault of every request."""
    retry_after: str = "1"
    elsewhere: str = ""
    """Where a redirect leads."""
    hold_from: int | None = None
    """The request of this number, from 0, and later ones wait for `released`."""
    held: Event = field(default_factory=Event)
    """A request waits."""
    released: Event = field(default_factory=Event)
    together: int = 1
    """A request waits until so many are there at the same time."""
    most: int = 0
    """Requests that were there at the same time."""
    sent: list[bytes] = field(default_factory=list)
    """Images, as they were sent."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Other answers, by path."""
    lock: Lock = field(default_factory=Lock)
    there: int = 0
    crowded: Event = field(default_factory=Event)

    @property
    def paths(self) -> list[str]:
        return [one.path for one in self.asked]


def fits_file(ra: float, dec: float, side_px: int) -> bytes:
    """A cutout as FIRST sends it: two axes, and a WCS of four."""
    seed = abs(hash((round(ra * 1e6), round(dec * 1e6), side_px)))
    pixels = double_source(np.random.default_rng(seed), size=side_px)
    if dec < ZERO_SOUTH_OF:
        pixels[:] = 0
    elif dec < BLANK_SOUTH_OF:
        pixels[:] = np.nan
    header = header_at(ra, dec, side_px)
    header["CTYPE3"], header["CRVAL3"], header["CDELT3"] = "FREQ", 1.4e9, 4.2e7
    header["CTYPE4"], header["CRVAL4"], header["CDELT4"] = "STOKES", 1.0, 1.0
    header["CRPIX3"] = header["CRPIX4"] = 1.0
    file = io.BytesIO()
    fits.PrimaryHDU(pixels, header).writeto(file)
    return file.getvalue()


def _votable(fields: str, rows: list[list[str]], after: str = "") -> bytes:
    cells = "".join(
        f"<TR>{''.join(f'<TD>{_text(cell)}</TD>' for cell in row)}</TR>" for row in rows
    )
    return (
        '<?xml version="1.0"?><VOTABLE version="1.3" '
        'xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="OK"/><TABLE>{fields}<DATA><TABLEDATA>'
        f"{cells}</TABLEDATA></DATA></TABLE></RESOURCE>{after}</VOTABLE>"
    ).encode()


def _text(cell: str) -> str:
    return cell.replace("&", "&amp;")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    archive: ClassVar[Archive]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's
        pass

    def do_GET(self) -> None:
        self._serve(dict(parse_qsl(urlsplit(self.path).query)))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._serve(dict(parse_qsl(body.decode())))

    def _serve(self, fields: dict[str, str]) -> None:
        archive, path = self.archive, urlsplit(self.path).path
        with archive.lock:
            number = len(archive.asked)
            archive.asked.append(
                Asked(
                    time.monotonic(),
                    datetime.now(UTC),
                    self.command,
                    path,
                    fields,
                    dict(self.headers),
                )
            )
            fault = archive.faults.popleft() if archive.faults else archive.always
            archive.there += 1
            self._present = 1
            archive.most = max(archive.most, archive.there)
            if archive.there >= archive.together:
                archive.crowded.set()
        try:
            archive.crowded.wait(10)
            if archive.hold_from is not None and number >= archive.hold_from:
                archive.held.set()
                archive.released.wait(10)
            # A client that is gone, or that has had enough, hangs up.
            with suppress(ConnectionError):
                getattr(self, f"_{fault or 'answer'}")(path, fields)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Be there no more; before the answer, or the next request might be counted."""
        with self.archive.lock:
            self.archive.there -= self._present
            self._present = 0

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self._leave()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _image(self, ra: float, dec: float, side_px: int) -> None:
        if dec < NOTHING_SOUTH_OF:
            self._send(204, b"")
        elif dec < PAGE_SOUTH_OF:
            page = "<html><title>FIRST</title><p>Sorry, no image here.</html>"
            self._send(200, page.encode(), Content_Type="text/html")
        else:
            data = fits_file(ra, dec, side_px)
            self.archive.sent.append(data)
            self._send(200, data, Content_Type="image/fits")

    def _answer(self, path: str, fields: dict[str, str]) -> None:
        match path:
            case "/firstcutout":
                assert fields["Equinox"] == "J2000"
                assert fields["ImageType"] == "FITS File"
                assert self.command == "POST"
                where = SkyCoord(fields["RA"], unit=("hourangle", "deg"))
                side_px = round(float(fields["ImageSize"]) * 60 / PIXEL_SCALE_ARCSEC)
                self._image(where.ra.deg, where.dec.deg, side_px)
            case "/runquery.pl":
                assert fields["Return"] == "FITS"
                ra, dec = map(float, fields["Position"].split(","))
                self._image(ra, dec, int(fields["Pixels"].split(",")[0]))
            case "/sia2" | "/sia2links" | "/sia2plain":
                self._discover(path, fields)
            case "/links":
                links = [
                    [fields["ID"], f"{self.archive.url}/whole?ID=1", "", "#this"],
                    [fields["ID"], "", "cut", "#cutout"],
                ]
                self._send(200, _votable(LINK_FIELDS, links, self._descriptor()))
            case "/soda":
                assert fields["ID"] == "ivo://here/near"
                ra, dec, radius = map(float, fields["CIRCLE"].split())
                side_px = round(radius * 2 * 3600 / PIXEL_SCALE_ARCSEC)
                self._image(ra, dec, side_px)
            case "/whole":
                self._image(10.0, 10.0, 64)
            case _ if path in self.archive.files:
                self._send(200, self.archive.files[path])
            case _:
                self._send(404, b"<h1>Not here</h1>")

    def _discover(self, path: str, fields: dict[str, str]) -> None:
        shape, ra, dec, _ = fields["POS"].split()
        assert shape == "CIRCLE"
        if float(dec) < NOTHING_SOUTH_OF:
            self._send(200, _votable(SIA_FIELDS, []))
            return
        rows = []
        for name, offset in (("far", 0.3), ("near", 0.01)):
            did, place = f"ivo://here/{name}", [ra, str(float(dec) + offset)]
            url, kind = f"{self.archive.url}/whole?ID={name}", "image/fits"
            if path == "/sia2links":
                url, kind = f"{self.archive.url}/links?ID={did}", DATALINK
            rows.append([name, did, "image", *place, url, kind])
        after = self._descriptor() if path == "/sia2" else ""
        self._send(200, _votable(SIA_FIELDS, rows, after))

    def _descriptor(self) -> str:
        return (
            '<RESOURCE ID="cut" type="meta" utype="adhoc:service">'
            '<PARAM name="standardID" datatype="char" arraysize="*" '
            'value="ivo://ivoa.net/std/SODA#sync-1.0"/>'
            '<PARAM name="accessURL" datatype="char" arraysize="*" '
            f'value="{self.archive.url}/soda"/><GROUP name="inputParams">'
            '<PARAM name="ID" datatype="char" arraysize="*" ref="did" value=""/>'
            '<PARAM name="CIRCLE" datatype="double" arraysize="3" value="0 0 0"/>'
            "</GROUP></RESOURCE>"
        )

    def _busy(self, *_: object) -> None:
        self._send(429, b"Too often.", Retry_After=self.archive.retry_after)

    def _down(self, *_: object) -> None:
        self._send(503, b"<h1>Back soon</h1>")

    def _forbidden(self, *_: object) -> None:
        self._send(403, b"Blocked.")

    def _missing(self, *_: object) -> None:
        self._send(404, b"<html><title>404</title>No such field</html>")

    def _page(self, *_: object) -> None:
        self._send(200, b"<html><body>Database error 17</body></html>")

    def _redirect(self, path: str, _fields: object) -> None:
        self._send(307, b"", Location=self.archive.elsewhere + path)

    def _cut(self, *_: object) -> None:
        """Fewer bytes than promised."""
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(fits_file(1, 1, 64)[:5000])
        self.close_connection = True

    def _short(self, *_: object) -> None:
        """Fewer bytes than the FITS header promises; HTTP knows nothing of it."""
        self._send(200, fits_file(1, 1, 64)[:5760])

    def _reset(self, *_: object) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def _slow(self, *_: object) -> None:
        """A byte now and then, for ten seconds at most."""
        self._pour(b"S", pause_s=0.02)

    def _endless(self, *_: object) -> None:
        self._pour(b"SIMPLE".ljust(2**20))

    def _pour(self, part: bytes, pause_s: float | None = None) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        end, size = time.monotonic() + 10, 0
        while time.monotonic() < end and size < _FAULT_BYTES:
            size += self.wfile.write(part)
            if pause_s is not None:
                self.archive.released.wait(pause_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Sixteen at the same time, in the tests.
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


@contextmanager
def serve_archive() -> Iterator[Archive]:
    """Serve on a free port of this machine."""
    archive = Archive()
    handler = type("Handler", (_Handler,), {"archive": archive})
    with _Server(("127.0.0.1", 0), handler) as server:
        archive.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield archive
        finally:
            archive.released.set()
            server.shutdown()
            thread.join()
