"""Benches: `gateway` (the W bars), `peers`, micro budgets (`test_*.py`), a day of users (`day`), and the
renderer.
"""
