"""What an instrument's prices are worth: tick size, value of a tick, fees, and where each fact was taken from.

Facts come from the user or the vendor's definition records and are never guessed: a wrong tick value makes every
figure of a backtest wrong without any sign. All are exact integers; what doesn't fit them is refused.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import databento_dbn

from bt_gym.config import InstrumentConfig
from bt_gym.data.dbn import UNDEF_PRICE, messages, open_dbn
from bt_gym.errors import EmptyDataError, InstrumentError, TickError

Number = Decimal | str | int | float
Definition = Path | str | Sequence[Path | str] | None
"""One or several files of definition records."""

NANOS = 10**9
MICROS = 10**6
MAX_EXPONENT = 30  # of a number that is given: as a fraction, 1e-999999 would fill the memory


@dataclass(frozen=True)
class Instrument:
    """Facts of one instrument, as the simulation uses them.

    >>> es = Instrument.from_values("ESH4", tick_size="0.25", multiplier=50, maker_fee="2.05", taker_fee="2.05")
    >>> es.tick_value_micros, es.price(19_240), es.ticks("4810.00")
    (12500000, Decimal('4810.00'), 19240)
    """

    symbol: str
    tick_size_nanos: int  # smallest price step, 1e-9 of the price unit
    tick_value_micros: int
    """Of one tick per lot, 1e-6 of the currency; of an inverse lot minus its value times the price in ticks."""
    currency: str = "USD"
    maker_fee_micros: int | None = None  # per lot and side, 1e-6 of the currency; negative: rebate; None: unknown
    taker_fee_micros: int | None = None
    source: str = ""
    """Where each fact was taken from, for the report."""

    def __post_init__(self) -> None:
        """Refuse what a kernel could not use."""
        for name in ("tick_size_nanos", "tick_value_micros", "maker_fee_micros", "taker_fee_micros"):
            value = getattr(self, name)
            optional, lowest = name.endswith("fee_micros"), 1 if name == "tick_size_nanos" else -(2**62)
            if value is None and optional:
                continue
            if type(value) is not int or not lowest <= value < 2**62 or (value == 0 and not optional):
                raise InstrumentError(
                    f"{self.symbol}: {name} must be an integer from {lowest} below 2**62, got {value!r}"
                )

    @classmethod
    def from_values(
        cls,
        symbol: str,
        tick_size: Number,
        multiplier: Number,
        *,
        maker_fee: Number | None = None,
        taker_fee: Number | None = None,
        currency: str = "USD",
        source: str = "given in Python",
        inverse: bool = False,
    ) -> Self:
        """Make an instrument of plain numbers; a float counts as the digits it prints.

        Args:
            symbol: name.
            tick_size: smallest price step.
            multiplier: currency per 1.0 of price and lot.
            maker_fee: currency per lot for a fill of a resting order; negative is a rebate; None is unknown.
            taker_fee: currency per lot for a fill that took liquidity.
            currency: of value and fees.
            source: where the facts come from.
            inverse: a lot is worth multiplier / price of the currency, instead of multiplier x price.

        Raises:
            InstrumentError: a value isn't a positive number, or not exact in the units above.
        """
        tick, value = _fraction(symbol, "tick_size", tick_size), _fraction(symbol, "multiplier", multiplier)
        if tick <= 0 or value <= 0:
            raise InstrumentError(
                f"{symbol}: tick_size and multiplier must be above 0, got {tick_size} and {multiplier}"
            )
        maker, taker = (
            None if fee is None else _scaled(symbol, name, _fraction(symbol, name, fee), MICROS)
            for name, fee in (("maker_fee", maker_fee), ("taker_fee", taker_fee))
        )
        return cls(
            symbol=symbol,
            tick_size_nanos=_scaled(symbol, "tick_size", tick, NANOS),
            tick_value_micros=-_scaled(symbol, "multiplier / tick_size", value / tick, MICROS)
            if inverse
            else _scaled(symbol, "tick_size x multiplier", tick * value, MICROS),
            currency=currency,
            maker_fee_micros=maker,
            taker_fee_micros=taker,
            source=source,
        )

    @classmethod
    def from_definition(cls, path: Path | str, symbol: str) -> Self:
        """Read the facts from a file of definition records; these carry no fees.

        Raises:
            InstrumentError: the file has no definition of the symbol, or one without a contract value.
            DataError: the file can't be read.
        """
        return cls.resolve(symbol, definition=path)

    @classmethod
    def resolve(
        cls,
        symbol: str,
        *,
        definition: Definition = None,
        config: InstrumentConfig | None = None,
        flags: InstrumentConfig | None = None,
    ) -> Self:
        """Merge the facts from all places fact by fact; flags win over the configuration, this over the definition.

        Fees may stay unknown: `require_fees` tells.

        Raises:
            InstrumentError: tick size or multiplier is known from nowhere, or a value isn't exact.
            DataError: the definition file can't be read.
        """
        facts, source = _merge(symbol, ("tick_size", "multiplier"), definition, config, flags)
        return cls.from_values(symbol, **facts, source=source)

    @property
    def is_inverse(self) -> bool:
        """Whether a lot is worth less of the currency at a higher price."""
        return self.tick_value_micros < 0

    def require_fees(self) -> tuple[int, int]:
        """(maker, taker) fee per lot and side in 1e-6 of the currency.

        Raises:
            InstrumentError: they are unknown; zero must be said.
        """
        if self.maker_fee_micros is None or self.taker_fee_micros is None:
            raise InstrumentError(
                f"{self.symbol}: fees unknown: set fee_per_contract (0 for none) under `instruments: {self.symbol}:` "
                "in the configuration, or use --fee-per-contract"
            )
        return self.maker_fee_micros, self.taker_fee_micros

    def price(self, ticks: int) -> Decimal:
        """Exact price of a number of ticks, with the digits of the tick size."""
        return int(ticks) * Decimal(self.tick_size_nanos).scaleb(-9).quantize(self._digits)

    def ticks(self, price: Number) -> int:
        """Ticks of a price.

        Raises:
            TickError: the price isn't on the grid.
        """
        ticks = _fraction(self.symbol, "price", price) * NANOS / self.tick_size_nanos
        if ticks.denominator != 1:
            raise TickError(f"{self.symbol}: price {price} is not on the {self.price(1)} tick")
        return int(ticks)

    @property
    def _digits(self) -> Decimal:
        """10 to the minus number of decimals that the tick size needs, 2 at least."""
        exponent = Decimal(self.tick_size_nanos).scaleb(-9).normalize().as_tuple().exponent
        return Decimal(1).scaleb(min(int(exponent), -2))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            InstrumentError: a key is missing or unknown, or a value impossible.
        """
        names = {field.name for field in fields(cls)}
        if set(data) != names:
            raise InstrumentError(f"instrument must have the keys {sorted(names)}, got {sorted(data)}")
        return cls(**data)


def read_definition(path: Path | str, symbol: str) -> tuple[dict[str, Any], str]:
    """Facts that a definition file has on a symbol or instrument id, and a remark on what it lacks.

    The value of a tick is `min_price_increment_amount / display_factor`: in the vendor's formula,
    `increment * unit_of_measure_qty * (amount / display_factor) / (increment * unit_of_measure_qty)`
    (https://databento.com/docs/examples/instrument-definitions/contract-notional), the rest cancels out.
    `contract_multiplier` is undefined for most futures and isn't used.

    Raises:
        InstrumentError: two definitions of the symbol contradict each other.
        DataError: the file can't be read.
    """
    path = Path(path)
    found: dict[str, Any] | None = None
    others: dict[str, None] = {}
    intervals = open_dbn(path, "definition").symbols.get(symbol, ())
    count = 0
    for message in messages(path, databento_dbn.InstrumentDefMsg):
        count += 1
        named = symbol in (message.raw_symbol, str(message.instrument_id))
        if not named and not any(span.covers(message.instrument_id, message.ts_recv) for span in intervals):
            if len(others) < 5:
                others[message.raw_symbol] = None
            continue
        facts = _defined(message)
        if found is not None and facts != found:
            changed = {name: f"{found.get(name)} and {facts.get(name)}" for name in found | facts}
            changed = {name: text for name, text in changed.items() if found.get(name) != facts.get(name)}
            raise InstrumentError(
                f"{path}: definitions of {symbol} contradict each other ("
                + ", ".join(f"{name} {text}" for name, text in changed.items())
                + "): give a file of the day of the data"
            )
        found = facts
    if not count:
        raise EmptyDataError(f"{path}: holds no definition: request the days and the symbol again")
    if found is None:
        return {}, f" ({path.name} doesn't define {symbol}, it has {', '.join(others) or 'nothing'})"
    lacking = [name for name in ("tick_size", "multiplier") if name not in found]
    return found, f" (undefined for {symbol} in {path.name})" if lacking else ""


def _read_definitions(files: Definition, symbol: str) -> tuple[dict[str, Any], str, str]:
    """Facts from several files, a remark on what they lack, and the file that they come from.

    Raises:
        InstrumentError: files contradict each other.
        DataError: a file can't be read.
    """
    paths = [Path(files)] if isinstance(files, Path | str) else [Path(file) for file in files or ()]
    facts: dict[str, Any] = {}
    remark, name = "", ""
    for path in paths:
        found, lacks = read_definition(path, symbol)
        if facts and found and found != facts:
            raise InstrumentError(
                f"{path}: defines {symbol} otherwise than {name}: give the definition of the days of the data"
            )
        if found and not facts:
            facts, name = found, path.name
        remark = lacks if found or not facts else remark
    return facts, remark, name


def _defined(message: databento_dbn.InstrumentDefMsg) -> dict[str, Any]:
    """What a definition record tells; undefined amounts are left out."""
    facts: dict[str, Any] = {"currency": message.currency} if message.currency else {}
    increment, amount, factor = message.min_price_increment, message.min_price_increment_amount, message.display_factor
    if 0 < increment < UNDEF_PRICE:
        facts["tick_size"] = Fraction(increment, NANOS)
        if 0 < amount < UNDEF_PRICE and 0 < factor < UNDEF_PRICE:
            facts["multiplier"] = Fraction(amount, factor) / facts["tick_size"]
    return facts


def _facts(given: InstrumentConfig) -> dict[str, Any]:
    """The facts that a configuration entry gives, fees per liquidity."""
    facts = given.model_dump(exclude_none=True)
    fee = facts.pop("fee_per_contract", None)
    return facts if fee is None else facts | {"maker_fee": fee, "taker_fee": fee}


def _fraction(symbol: str, name: str, value: Number | Fraction) -> Fraction:
    if isinstance(value, Fraction):
        return value
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or abs(number.adjusted()) > MAX_EXPONENT:
        raise InstrumentError(f"{symbol}: {name} must be a number, got {value!r}")
    return Fraction(number)


def _scaled(symbol: str, name: str, value: Fraction, scale: int) -> int:
    scaled = value * scale
    if scaled.denominator != 1:
        raise InstrumentError(f"{symbol}: {name} = {float(value)!r} isn't exact in 1/{scale}: check its digits")
    return int(scaled)


def resolve_tick_size(
    symbol: str,
    *,
    definition: Definition = None,
    config: InstrumentConfig | None = None,
    flags: InstrumentConfig | None = None,
) -> int:
    """The tick size in 1e-9, from the same places as `Instrument.resolve`: all that compiling a tape needs.

    Raises:
        InstrumentError: it is known from nowhere, or not exact.
        DataError: the definition file can't be read.
    """
    facts, _ = _merge(symbol, ("tick_size",), definition, config, flags)
    return _scaled(symbol, "tick_size", _fraction(symbol, "tick_size", facts["tick_size"]), NANOS)


def _merge(
    symbol: str,
    needed: tuple[str, ...],
    definition: Definition,
    config: InstrumentConfig | None,
    flags: InstrumentConfig | None,
) -> tuple[dict[str, Any], str]:
    """The facts from all places, later ones win, and a text that says which came from where."""
    defined, remark, file = _read_definitions(definition, symbol)
    facts: dict[str, Any] = {}
    places: dict[str, str] = {}
    for given, place in (
        (defined, file),
        (config, "configuration"),
        (flags, "command line"),
    ):
        new = _facts(given) if isinstance(given, InstrumentConfig) else given or {}
        facts |= new
        places |= dict.fromkeys(new, place)
    missing = [name for name in needed if name not in facts]
    if missing:
        names = " and ".join(missing)
        flag = " ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise InstrumentError(
            f"{symbol}: {names} unknown{remark}: give a definition file that has it, set it under "
            f"`instruments: {symbol}:` in the configuration, or use {flag}"
        )
    names_of = {place: [name for name in places if places[name] == place] for place in places.values()}
    return facts, "; ".join(f"{place}: {', '.join(names)}" for place, names in names_of.items())
