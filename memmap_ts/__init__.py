__version__ = "0.0.1"

from .versions import check_versions
check_versions()
