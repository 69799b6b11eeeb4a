"""Cutout server of FIRST (Becker, White & Helfand 1995, ApJ 450, 559).

The images are for scholarly, educational and private non-commercial use.
"""

from astropy.coordinates import SkyCoord

from twinjet.index.cutouts.answers import whole_fits
from twinjet.index.cutouts.polite import PoliteClient


class FirstArchive:
    """Asks the FIRST cutout form.

    Parameters
    ----------
    client
        Asks.
    url
        Of the form.
    size_arcsec
        Side of the square cutout; 1.8 arcsec a pixel.
    """

    def __init__(self, client: PoliteClient, *, url: str, size_arcsec: float) -> None:
        self._client = client
        self._url = url
        self._size_arcsec = size_arcsec

    def fetch(self, ra: float, dec: float) -> bytes:
        """FITS file about a position in ICRS degrees.

        Raises
        ------
        NoCoverageError, ArchiveTroubleError
            There is none, for good or for now.
        """
        form = {
            # The form has one field for both.
            "RA": form_position(ra, dec),
            "Equinox": "J2000",
            "ImageSize": f"{self._size_arcsec / 60:.6g}",
            "ImageType": "FITS File",
            # Top of the grey scale in mJy, which the pixels of FITS do not know.
            "MaxInt": "10",
        }
        return self._client.ask(self._url, whole_fits, form=form)


def form_position(ra: float, dec: float) -> str:
    """Sexagesimal hours and degrees of a position in ICRS degrees.

    ICRS and the FK5 of J2000 agree to 0.02 arcsec.

    Examples
    --------
    >>> form_position(0.0, -0.001)
    '00 00 00.000 -00 00 03.60'
    >>> form_position(359.9999999, 89.9999999)
    '00 00 00.000 +90 00 00.00'
    """
    position = SkyCoord(ra, dec, unit="deg")
    hours = position.ra.to_string(unit="hourangle", sep=" ", precision=3, pad=True)
    degrees = position.dec.to_string(
        unit="deg", sep=" ", precision=2, pad=True, alwayssign=True
    )
    return f"{hours.replace('24 00 00.000', '00 00 00.000')} {degrees}"
