"""HTTP, the web page and the command line. No science lives here."""
