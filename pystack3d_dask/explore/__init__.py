"""Looking at volumes of any size, as scikit-image's tutorial "Explore 3D images" does.

Every function takes a lazy stack, loads no more than it shows, and returns a figure of
matplotlib; `browse` returns a widget.
"""

from pystack3d_dask.explore.browser import browse
from pystack3d_dask.explore.pictures import box, compare, histogram, montage, planes

__all__ = ["box", "browse", "compare", "histogram", "montage", "planes"]
