"""The version of Tierwise, apart from the package itself, which imports everything that it exports."""

__version__ = "0.1.0"
