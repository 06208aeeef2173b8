"""What is traded: the facts that every synthetic market shares."""

from dataclasses import dataclass
from decimal import Decimal

from bt_gym.data.instruments import Instrument

NANOS = 1_000_000_000


@dataclass(frozen=True)
class Product:
    """Name, price grid and value of a synthetic instrument."""

    name: str
    symbol: str
    instrument_id: int
    tick_size: Decimal  # currency
    multiplier: int  # currency per point of price and lot
    start_price: Decimal  # currency

    def instrument(self, fee: Decimal | str = "2.00") -> Instrument:
        """Facts of the instrument; `fee` in currency per lot and side."""
        return Instrument.from_values(
            self.symbol, self.tick_size, self.multiplier, maker_fee=fee, taker_fee=fee, source="synthetic exchange"
        )

    @property
    def tick_nanos(self) -> int:
        """Tick size in 1e-9 of the currency."""
        return int(self.tick_size * NANOS)

    @property
    def start_tick(self) -> int:
        """Price at which the session starts, in ticks."""
        return int(self.start_price / self.tick_size)
