"""Functions of a user's own, as schemas name them."""

from __future__ import annotations

import polars as pl


def take_domain(url: pl.Expr) -> pl.Expr:
    return url.str.extract(r"^https?://([^/]*)")


def subtract_mean(number: pl.Expr) -> pl.Expr:
    return number.cast(pl.Float64()) - number.cast(pl.Float64()).mean()


def shout(text: pl.Expr) -> pl.Expr:
    return text + "!"


def fail(raw: pl.Expr) -> pl.Expr:
    raise ValueError("no")


NUMBER = 1
