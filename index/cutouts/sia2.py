"""Any archive with image discovery and, if it has that, cutouts.

Simple Image Access 2.0 (Dowler et al. 2015), DataLink 1.1 and SODA 1.0 (Bonnarel et
al. 2017) of the International Virtual Observatory Alliance.
"""

import math

from astropy.coordinates import angular_separation

from twinjet.index.cutouts.answers import whole_fits
from twinjet.index.cutouts.errors import NoCoverageError
from twinjet.index.cutouts.polite import PoliteClient
from twinjet.index.cutouts.votable import Descriptor, Row, read_votable

# Images that cover one position; the nearest of these is taken.
_MAXREC = 100

# What SODA cuts by; ours to say, whatever default a descriptor has.
_CUTS = frozenset({"BAND", "CIRCLE", "POL", "POLYGON", "POS", "RANGE", "TIME"})


class Sia2Archive:
    """Finds the image whose centre is nearest, and has it cut where that is offered.

    Parameters
    ----------
    client
        Asks.
    url
        Of the SIA 2 query.
    collection
        ObsCore's ``obs_collection`` that the images must be of; any when None.
    size_arcsec
        Diameter of the circle that is asked for.
    """

    def __init__(
        self,
        client: PoliteClient,
        *,
        url: str,
        collection: str | None,
        size_arcsec: float,
    ) -> None:
        self._client = client
        self._url = url
        self._collection = {"COLLECTION": collection} if collection else {}
        self._radius_deg = size_arcsec / 2 / 3600

    def fetch(self, ra: float, dec: float) -> bytes:
        """FITS file about a position in ICRS degrees: a cutout, or the whole image.

        Raises
        ------
        NoCoverageError, ArchiveTroubleError
            There is none, for good or for now.
        """
        circle = f"{ra:.7f} {dec:.7f} {self._radius_deg:.7f}"
        params = {"POS": f"CIRCLE {circle}", "MAXREC": str(_MAXREC), **self._collection}
        found = self._client.ask(self._url, read_votable, params=params)
        images = [row for row in found.rows if _is_image(row)]
        if not images:
            msg = f"{self._url} knows no image at RA {ra:.5f}, Dec {dec:+.5f}"
            raise NoCoverageError(msg)
        row = min(images, key=lambda row: _distance(row, ra, dec))
        if found.soda:
            return self._cut(found.soda[0], row, circle)
        if "content=datalink" not in str(row.get("access_format", "")):
            return self._get(str(row["access_url"]))
        links = self._client.ask(
            str(row["access_url"]), read_votable, sent_by=self._url
        )
        by_name = {service.name: service for service in links.soda}
        for link in links.rows:
            if service := by_name.get(str(link.get("service_def", ""))):
                return self._cut(service, link, circle)
        for link in links.rows:
            if link.get("semantics") == "#this" and link.get("access_url"):
                return self._get(str(link["access_url"]))
        msg = f"{self._url} links to no image at RA {ra:.5f}, Dec {dec:+.5f}"
        raise NoCoverageError(msg)

    def _cut(self, service: Descriptor, row: Row, circle: str) -> bytes:
        params = {k: v for k, v in service.values(row).items() if k not in _CUTS}
        if "POS" in service.inputs and "CIRCLE" not in service.inputs:
            params["POS"] = f"CIRCLE {circle}"
        else:
            params["CIRCLE"] = circle
        return self._client.ask(
            service.url, whole_fits, params=params, sent_by=self._url
        )

    def _get(self, url: str) -> bytes:
        return self._client.ask(url, whole_fits, sent_by=self._url)


def _is_image(row: Row) -> bool:
    kind = str(row.get("dataproduct_type", "image"))
    return kind in {"", "image"} and bool(row.get("access_url"))


def _distance(row: Row, ra: float, dec: float) -> float:
    """From the centre of a row's image, radians; infinite when it is not given."""
    if "s_ra" not in row or "s_dec" not in row:
        return math.inf
    there = (math.radians(float(row["s_ra"])), math.radians(float(row["s_dec"])))
    separation = angular_separation(math.radians(ra), math.radians(dec), *there)
    return float(separation) if math.isfinite(separation) else math.inf
