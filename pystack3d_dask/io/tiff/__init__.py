"""TIFF files: headers, pages, pixels."""
