__version__ = "0.1.0"

from .versions import check_versions
check_versions()
