"""Pictures of an environment for people: the ladder with own orders and their places in the queue, trades, position.

Everything is read from the environment's record when a frame is asked for, so that stepping costs nothing. Frames are
drawn in NumPy, with a font of 3 x 5 dots; only a window needs pygame.
"""

import contextlib
import importlib.util
import os
import sys
import warnings
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np

from bt_gym._jit import njit
from bt_gym.core import enums
from bt_gym.core.features import queue_ahead
from bt_gym.core.market import recent_trades
from bt_gym.core.positions import equity
from bt_gym.core.tape import LADDER_TICKS
from bt_gym.envs.batch import Batch
from bt_gym.errors import ConfigError

RENDER_MODES = ["rgb_array", *(["human"] if importlib.util.find_spec("pygame") else [])]
"""`human` is offered where pygame is installed; elsewhere Gymnasium says what is missing."""
FPS = 5

HEIGHT, WIDTH = 384, 576  # whole blocks of 16, as video codecs like it
LEVELS = 12  # ticks on each side of the mid
TOP, ROW = 44, 14  # pixels: above the ladder, and of one price
BAR = 96  # pixels of the longest level
OWN_BID, BID_EDGE, PRICE, ASK_EDGE, OWN_ASK, TRADES = 8, 184, 192, 264, 368, 456  # x

BACK, LINE, TEXT, FAINT = (18, 20, 26), (38, 42, 52), (222, 224, 228), (120, 126, 138)
COLOURS = ((38, 110, 92), (138, 62, 66))  # of bids and asks
BRIGHT = ((84, 214, 178), (240, 116, 120))
OWN = (255, 204, 64)
IN_FLIGHT = (196, 130, 40)

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.,:-+/% "
_DOTS = """
    75557 26227 71747 71717 55711 74717 74757 71111 75757 75717
    25755 65656 34443 65556 74647 74644 34553 55755 72227 11152 55655 44447 57755
    65555 25552 65644 25563 65655 34216 72222 55557 55552 55775 55255 55222 71247
    00002 00024 02020 00700 02720 11244 51245 00000
"""
_GLYPHS = dict(zip(_LETTERS, _DOTS.split(), strict=True))
"""Five rows of three dots each, a digit a row."""


class Renderer:
    """Draws the environments of a batch, and shows the first one where `mode` is human.

    Raises:
        ConfigError: there is no such mode.
    """

    def __init__(self, batch: Batch, mode: str | None) -> None:
        if mode not in (None, "rgb_array", "human"):
            raise ConfigError(f"render_mode is {mode!r}, but must be rgb_array, human or None")
        self.batch, self.mode = batch, mode
        self._window: Any = None
        self._clock: Any = None

    def frame(self, index: int) -> np.ndarray:
        """(HEIGHT, WIDTH, 3) uint8."""
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        picture[:] = BACK
        env, markets = self.batch.envs[index], self.batch.markets
        source = int(env["episode"]["source"])
        tape, instrument = markets.tapes[source], markets.instruments[source]
        base = (int(env["market"]["mark2"]) >> 1) - LEVELS + 1
        orders = np.zeros((len(env["account"]["orders"]), 5))
        orders = orders[: _own_orders(self.batch.envs, index, tape.records, tape.events, tape.blocks, orders)]
        trades = np.zeros((2 * LEVELS, 5), np.int64)
        trades = trades[: recent_trades(tape.records, tape.events, int(env["market"]["event"]), trades)]
        tick = instrument.tick_size_nanos / 1e9
        decimals = len(f"{tick:.9f}".rstrip("0").partition(".")[2])
        _draw_header(picture, env)
        _draw_ladder(picture, env["market"], base, orders, lambda ticks: f"{ticks * tick:.{decimals}f}")
        for number, (_, ticks, lots, side, _) in enumerate(trades.tolist()):
            colour = FAINT if side < 0 else BRIGHT[side]
            _write(picture, TOP + ROW * number + 1, TRADES, f"{ticks * tick:.{decimals}f} {lots}", colour)
        return picture

    def render(self) -> np.ndarray | None:
        """A frame of the first environment, or None where it is shown in a window.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if not self.batch.envs["episodes"].all():
            raise gym.error.ResetNeeded("call reset before render")
        if self.mode != "human":
            return self.frame(0)
        self._show()
        return None

    def frames(self) -> tuple[np.ndarray, ...] | None:
        """Likewise, a frame of each environment."""
        if self.mode == "human" or not self.batch.envs["episodes"].all():
            self.render()
            return None
        return tuple(self.frame(index) for index in range(len(self.batch.envs)))

    def _show(self) -> None:
        pygame = _pygame()
        if self._window is None:
            if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
                os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no screen: nothing is seen, and nothing fails
            pygame.display.init()
            pygame.display.set_caption("bt_gym")
            self._window = pygame.display.set_mode((WIDTH, HEIGHT))
            self._clock = pygame.time.Clock()
        pygame.surfarray.blit_array(self._window, self.frame(0).swapaxes(0, 1))
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(FPS)

    def close(self) -> None:
        """Closes the window."""
        if self._window is not None:
            _pygame().display.quit()
            self._window = None


def _pygame() -> Any:
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):  # it greets, and imports what is deprecated
            warnings.simplefilter("ignore")
            import pygame
    except ImportError:
        raise gym.error.DependencyNotInstalled("render_mode human needs pygame: pip install 'bt_gym[render]'") from None
    return pygame


@njit
def _own_orders(envs, index: int, records, events, blocks, out) -> int:
    """Own orders as known, into `out` (n, 5): side, price in ticks, lots, part of the level ahead, 1 if unanswered."""
    env = envs[index]
    account = env["account"]
    found = 0
    for slot in range(account["orders"].shape[0]):
        order = account["orders"][slot]
        if order["status"] == enums.STATUS_FREE or order["known_leaves"] <= 0:
            continue
        out[found, 0] = order["side"]
        out[found, 1] = order["known_price"]
        out[found, 2] = order["known_leaves"]
        out[found, 3] = queue_ahead(account, env["log"], env["market"], records, events, blocks, order)
        out[found, 4] = 1.0 if not order["acknowledged"] or order["unanswered"] > 0 else 0.0
        found += 1
    return found


def _draw_header(picture: np.ndarray, env: np.void) -> None:
    episode, account = env["episode"], env["account"]
    seconds = (int(env["now"]) - int(episode["start"])) / 1e9
    position = account["known_position"]
    profit = equity(position, env["market"]["mark2"], account["models"]["tick_value"]) / 1e6
    left, right = f"{seconds:.1f} S OF {int(episode['window']) / 1e9:g}", f"{int(episode['trades'])} TRADES"
    colour = TEXT if profit == 0 else BRIGHT[profit < 0]
    _write(picture, 8, OWN_BID, left, FAINT)
    _write(picture, 8, PRICE, f"POSITION {int(position['size']):+d}", OWN if position["size"] else TEXT)
    _write(picture, 8, OWN_ASK, f"PNL {profit:+,.2f}", colour)
    _write(picture, 26, OWN_BID, "OWN BIDS", FAINT)
    _write(picture, 26, OWN_ASK, "ASKS", FAINT)
    _write(picture, 26, TRADES, right, FAINT)
    picture[40] = LINE


def _draw_ladder(picture: np.ndarray, market: np.void, base: int, orders: np.ndarray, name: Any) -> None:
    """A row for each price: lots as bars from the price outwards, an own order's place as a mark in its bar."""
    offsets = base - int(market["base"]) + np.arange(2 * LEVELS)
    lots = np.zeros((2, 2 * LEVELS), np.int64)
    inside = (offsets >= 0) & (offsets < LADDER_TICKS)
    lots[:, inside] = market["ladder"][:, offsets[inside]]
    lots = np.maximum(lots, 0)
    longest = max(int(lots.max()), 1)
    for level in range(2 * LEVELS):
        y = row_of(level)
        _write(picture, y + 1, PRICE, name(base + level), TEXT)
        for side in (0, 1):
            size = int(lots[side, level])
            if size:
                _bar(picture, y, side, 0, max(BAR * size // longest, 1), COLOURS[side])
                text = str(size)
                x = BID_EDGE - 4 - 8 * len(text) if side == 0 else ASK_EDGE + 4
                _write(picture, y + 1, x, text, TEXT)
    for side, price, size, ahead, waits in orders.tolist():
        level = int(price) - base
        if not 0 <= level < 2 * LEVELS:
            continue
        y, side = row_of(level), int(side)
        shown = int(lots[side, level])
        colour = IN_FLIGHT if waits else OWN
        place = int(ahead * max(BAR * shown // longest, 1)) if shown else 0
        _bar(picture, y, side, place, place + 3, colour)
        text = f"{size:.0f}" if waits else f"{size:.0f} Q{ahead * shown:.0f}"
        _write(picture, y + 1, OWN_BID if side == 0 else OWN_ASK, text, colour)


def row_of(level: int) -> int:
    """Upper edge of a price's row in pixels; levels are counted from the lowest price shown."""
    return TOP + ROW * (2 * LEVELS - 1 - level)


def _bar(picture: np.ndarray, y: int, side: int, first: int, last: int, colour: tuple[int, ...]) -> None:
    left, right = (BID_EDGE - last, BID_EDGE - first) if side == 0 else (ASK_EDGE + first, ASK_EDGE + last)
    picture[y : y + ROW - 2, left:right] = colour


def _write(picture: np.ndarray, y: int, x: int, text: str, colour: tuple[int, ...]) -> None:
    dots = _dots(text)[:, : WIDTH - x]
    picture[y : y + dots.shape[0], x : x + dots.shape[1]][dots] = colour


@cache
def _glyph(letter: str) -> np.ndarray:
    """(10, 8) bool."""
    rows = [[int(row) >> 2 & 1, int(row) >> 1 & 1, int(row) & 1, 0] for row in _GLYPHS[letter]]
    return np.array(rows, bool).repeat(2, 0).repeat(2, 1)


def _dots(text: str) -> np.ndarray:
    return np.concatenate([_glyph(letter) for letter in text], 1)
