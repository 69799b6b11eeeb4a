"""SkyView, which resamples any of its surveys (McGlynn et al. 1998, IAU Symp. 179)."""

from twinjet.index.cutouts.answers import whole_fits
from twinjet.index.cutouts.polite import PoliteClient


class SkyViewArchive:
    """Asks SkyView for FITS.

    Parameters
    ----------
    client
        Asks.
    url
        Of ``runquery.pl``.
    survey
        As SkyView calls it.
    size_arcsec
        Side of the square cutout.
    pixel_scale_arcsec
        Of what SkyView makes; take that of the survey.
    """

    def __init__(
        self,
        client: PoliteClient,
        *,
        url: str,
        survey: str,
        size_arcsec: float,
        pixel_scale_arcsec: float,
    ) -> None:
        self._client = client
        self._url = url
        side_px = max(1, round(size_arcsec / pixel_scale_arcsec))
        side_deg = f"{side_px * pixel_scale_arcsec / 3600:.8g}"
        self._params = {
            "Survey": survey,
            "Pixels": f"{side_px},{side_px}",
            "Size": f"{side_deg},{side_deg}",
            "Return": "FITS",
        }

    def fetch(self, ra: float, dec: float) -> bytes:
        """FITS file about a position in ICRS degrees.

        Raises
        ------
        NoCoverageError, ArchiveTroubleError
            There is none, for good or for now.
        """
        params = {"Position": f"{ra:.7f},{dec:.7f}", **self._params}
        return self._client.ask(self._url, whole_fits, params=params)
