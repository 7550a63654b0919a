"""What models cost: a versioned catalogue of exact integer prices."""

from ailink.pricing.catalogue import Catalogue, Model, Price, Tier, load

__all__ = ["Catalogue", "Model", "Price", "Tier", "load"]
