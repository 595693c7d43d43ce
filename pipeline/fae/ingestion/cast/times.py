"""Cast times to seconds and microseconds since 1970, and derive categories from them."""

import re

import polars as pl

from fae.ingestion.cast.missing_values import strip_blanks
from fae.logs.columns import ISO_8601, UNIX, UNIX_MS, UNIX_US, SparseColumn, TimeColumn

#: The staged time: whole seconds since 1970 (int64), and the microseconds after them (int32), which
#: are left out where all are 0. No schema can give a column these names.
TIME_COLUMN, MICROSECOND_COLUMN = "@time", "@microsecond"
MICROSECONDS_PER_SECOND = 1_000_000
SECONDS_PER_DAY = 86_400
#: Times are of 1740 to 2199, so that milliseconds since 1970 are not taken for seconds. This is the
#: beginning of 2200; its negative is that of 1740.
MAX_SECONDS = 7_258_118_400
#: Formats that count from 1970, and how often in a second they do.
_PER_SECOND = {UNIX: 1, UNIX_MS: 1_000, UNIX_US: 1_000_000}
#: Times of ISO 8601 that name no zone; those that do are strptime's `%+`.
_ISO_FORMS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y%m%dT%H%M%S")
_MAX_DAYS = MAX_SECONDS // SECONDS_PER_DAY


def cast_time(column: TimeColumn, dtype: pl.DataType) -> pl.Expr:
    """Cast to microseconds since 1970; a time beyond MAX_SECONDS becomes the nearest bound."""
    raw = pl.col(column.name)
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
        return _to_microseconds(raw.to_physical() // 1_000, MICROSECONDS_PER_SECOND)
    if isinstance(dtype, pl.Datetime):
        return _to_microseconds(raw.to_physical(), 1_000 if dtype.time_unit == "ms" else 1_000_000)
    if dtype == pl.Date():
        days = raw.to_physical().cast(pl.Int64())
        return _to_microseconds(days.clip(-_MAX_DAYS, _MAX_DAYS) * SECONDS_PER_DAY, 1)
    if column.format in _PER_SECOND:
        if dtype == pl.String():
            raw = strip_blanks(raw, dtype)
            raw = pl.when(raw.str.contains(r"^[+-]?[0-9]+(\.[0-9]+)?$")).then(raw)
        number = raw.cast(pl.Float64(), strict=False)  # exact: the bounds in microseconds are
        number = pl.when(number.is_finite()).then(number)
        return _to_microseconds(number, _PER_SECOND[column.format])
    raw = raw.cast(pl.String())
    # `%f` is a fraction of six digits, as in Python; to Polars, it is a count of nanoseconds.
    form = column.format.replace(".%f", "%.f").replace("%f", "%6f")
    if column.format == ISO_8601:
        return _to_microseconds(_parse_iso(raw, column.zone), MICROSECONDS_PER_SECOND)
    if "%H" in form and "%M" not in form:  # Polars parses no hour without it
        moment = (raw + " 00").str.to_datetime(form + " %M", strict=False)
    else:
        moment = raw.str.to_datetime(form, strict=False, time_unit="us")
    if re.search("%[#:]*z|%\\+", column.format) is None:  # the text names no zone
        moment = _localize(moment, column.zone)
    time = _to_microseconds(moment.to_physical(), MICROSECONDS_PER_SECOND)
    return pl.when(_has_all_digits(raw, column.format)).then(time)


def _parse_iso(raw: pl.Expr, zone: str | None) -> pl.Expr:
    """Return the microseconds since 1970 of times in ISO 8601; null for other texts."""
    text = raw.str.strip_chars(" \t").str.replace(" ", "T", literal=True)
    zoned = text.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    local = pl.coalesce(
        text.str.to_datetime(form, strict=False, time_unit="us") for form in _ISO_FORMS
    )
    return pl.coalesce(zoned.to_physical(), _localize(local, zone).to_physical())


def _localize(moment: pl.Expr, zone: str | None) -> pl.Expr:
    """Return times of a zone, by default UTC; of two that clocks show alike, the earlier.

    A time that clocks skip becomes null.
    """
    if zone is None:
        return moment
    return moment.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def has_time_fault(microseconds: pl.Expr) -> pl.Expr:
    """Return whether what `cast_time` gave is no time."""
    return (microseconds.abs() >= MAX_SECONDS * MICROSECONDS_PER_SECOND).fill_null(True)


def explain_time_fault(column: TimeColumn, microseconds: object) -> str:
    """Return why a value, cast by `cast_time`, is no time, as the reason of a reject."""
    if microseconds is None:
        return f"not a time of the form {column.format}"
    unit = "seconds since 1970" if column.format == UNIX else column.format
    return f"not a time of the years 1740 to 2199, read as {unit}"


def split_seconds(rows: pl.DataFrame) -> pl.DataFrame:
    """Replace `@time` in microseconds by whole seconds, with `@microsecond` if any is not 0."""
    time = pl.col(TIME_COLUMN)
    microsecond = (time % MICROSECONDS_PER_SECOND).cast(pl.Int32()).alias(MICROSECOND_COLUMN)
    rows = rows.with_columns(time // MICROSECONDS_PER_SECOND, microsecond)
    return rows if (rows[MICROSECOND_COLUMN] != 0).any() else rows.drop(MICROSECOND_COLUMN)


def _to_microseconds(number: pl.Expr, per_second: int) -> pl.Expr:
    """Return the microseconds of a number of units, clipped to the bounds."""
    bound = MAX_SECONDS * per_second
    scaled = number.clip(-bound, bound) * (MICROSECONDS_PER_SECOND // per_second)
    return scaled.round().cast(pl.Int64())


def _has_all_digits(raw: pl.Expr, form: str) -> pl.Expr:
    """Return whether text has as many digits as a format of digits alone needs; else true.

    Polars also accepts fewer digits, and blanks: it reads ` 4102123` as %y%m%d%H as a day in 2041.
    """
    if not re.fullmatch("(%[YymdHMSj])+", form):
        return pl.lit(True)
    width = sum({"Y": 4, "j": 3}.get(directive, 2) for directive in form[1::2])
    number = raw.cast(pl.UInt64(), strict=False).is_not_null()
    return (raw.str.len_bytes() == width) & number & ~raw.str.starts_with("+")


def derive_category(column: SparseColumn, zone: str | None) -> pl.Expr:
    """Derive a category from the time in a zone: the hour, or the day of the week (Monday is 0)."""
    time = pl.col(TIME_COLUMN)
    if zone is not None:
        moment = pl.from_epoch(time).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
        time = moment.dt.replace_time_zone(None).dt.epoch("s")
    days, hours = time // SECONDS_PER_DAY, time % SECONDS_PER_DAY // 3_600
    category = hours if column.derive == "hour_of_day" else (days + 3) % 7
    return category.cast(pl.Int64()).alias(column.name)
