"""Exact agglomerative clustering under the cosine distance: distances, trees and cuts, class by class."""
