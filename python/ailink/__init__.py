"""AILink: one gateway between any application and any model. A Rust data plane in a Python shell."""

__version__ = "0.1.0"
