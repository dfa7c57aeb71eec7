"""The report as one HTML file: groups of redundant images, a map, warnings, and the numbers."""

from data_redundancy.gallery.content import Images, Names, PageSplit, Selected, heights_content
from data_redundancy.gallery.near_duplicates import NearDuplicates, default_near_duplicate
from data_redundancy.gallery.projection import METHODS as MAPS
from data_redundancy.gallery.projection import check_method, make_map
from data_redundancy.gallery.report import NO_EVIDENCE, Limits, Report, write
from data_redundancy.gallery.thumbnails import SIDE

__all__ = [
    "MAPS",
    "NO_EVIDENCE",
    "SIDE",
    "Images",
    "Limits",
    "Names",
    "NearDuplicates",
    "PageSplit",
    "Report",
    "Selected",
    "check_method",
    "default_near_duplicate",
    "heights_content",
    "make_map",
    "write",
]
