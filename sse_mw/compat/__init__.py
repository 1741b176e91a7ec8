"""Faces of other packages over this package's engine: one import changes, and the app stays as it is."""
