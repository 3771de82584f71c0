"""Writes the simulated examples: hourly.csv, retail.csv and chronos2_request.json.

    python examples/make_data.py [FOLDER]

The data are made up, by a fixed recipe without random state of the machine: the same bytes on every
Python and platform (a test compares them). air_passengers.csv and request.json are not made here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

WEEKDAY_LOAD = (
    52, 49, 47, 46, 47, 52, 63, 76, 84, 86, 87, 88, 87, 86, 85, 85, 87, 92, 96, 94, 87, 77, 67, 58,
)  # fmt: skip
WEEKEND_LOAD = (
    54, 50, 48, 46, 46, 47, 50, 55, 62, 69, 74, 77, 78, 76, 73, 72, 74, 80, 86, 86, 81, 74, 66, 59,
)  # fmt: skip
SHOPPERS = (82, 78, 84, 92, 118, 140, 64)  # Monday to Sunday
STORES = (
    ("Aarhus", 1.00, 1.10),
    ("Bilbao", 1.45, 0.94),
    ("Cork", 0.72, 1.02),
    ("Évora", 0.55, 1.3),
)
PROMOTIONS = {"none": 1.0, "coupon": 1.18, "flyer": 1.34}
SEASON = (0.86, 0.88, 0.95, 1.00, 1.03, 1.08, 1.12, 1.06, 1.00, 0.97, 1.04, 1.30)  # by month


class Noise:
    """Repeatable noise: a linear congruential generator (Lehmer, 1951), no seed from outside."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def uniform(self) -> float:
        self.state = self.state * 48271 % 2147483647
        return self.state / 2147483647

    def normal(self) -> float:
        """Nearly normal with deviation 1: twelve uniforms less six."""
        return sum(self.uniform() for _ in range(12)) - 6


def hourly() -> Iterator[str]:
    """Eight weeks of electricity load, with a daily and a weekly season, and a small gap."""
    noise, drift = Noise(24168), 0.0
    yield "timestamp,load_mw\n"
    start = datetime(2024, 3, 4)
    for step in range(8 * 7 * 24):
        now = start + timedelta(hours=step)
        shape = WEEKEND_LOAD if now.weekday() > 4 else WEEKDAY_LOAD
        drift = 0.95 * drift + 0.9 * noise.normal()
        load = 6.1 * shape[now.hour] * (1 - 0.00004 * step) + 2.4 * drift + 3.0 * noise.normal()
        text = "" if 700 <= step < 704 else f"{load:.1f}"
        yield f"{now:%Y-%m-%d %H:%M},{text}\n"


def retail_rows() -> Iterator[tuple[str, str, int | None, int | None, float, str]]:
    """A year of (date, store, sales, visitors, price, promotion), and 14 days ahead."""
    for number, (store, size, dearness) in enumerate(STORES):
        noise = Noise(1000 + number)
        price, promotion = round(3.2 * dearness, 2), "none"
        for day in range(364 + 14):
            now = datetime(2024, 1, 1) + timedelta(days=day)
            if now.weekday() == 0:
                promotion = ("none", "none", "coupon", "none", "flyer")[(day // 7 + number) % 5]
                if noise.uniform() < 0.12:
                    price = round(price * (1.04 if noise.uniform() < 0.7 else 0.97), 2)
            crowd = SHOPPERS[now.weekday()] * size * SEASON[now.month - 1] * (1 + day / 3000)
            lift = PROMOTIONS[promotion]
            visitors = round(2.6 * crowd * (0.7 + 0.3 * lift) * (1 + 0.05 * noise.normal()))
            sales = round(
                crowd * lift * (3.2 * dearness / price) ** 2 * (1 + 0.07 * noise.normal())
            )
            known = day < 364
            date = f"{now:%Y-%m-%d}"
            yield (
                date,
                store,
                sales if known else None,
                visitors if known else None,
                price,
                promotion,
            )


def retail() -> Iterator[str]:
    yield "date,store,sales,visitors,price,promotion\n"
    for date, store, sales, visitors, price, promotion in retail_rows():
        told = "," if sales is None else f"{sales},{visitors}"
        yield f"{date},{store},{told},{price:.2f},{promotion}\n"


def chronos2_request() -> Iterator[str]:
    """Two stores' last eight weeks: visitors known to now, price and promotion a week ahead."""
    series = []
    for store in ("Aarhus", "Évora"):
        rows = [row for row in retail_rows() if row[1] == store][364 - 56 : 364 + 7]
        past, ahead = rows[:56], rows[56:]
        series.append(
            {
                "id": store,
                "freq": "D",
                "timestamps": [row[0] for row in past],
                "target": [row[2] for row in past],
                "past_covariates": {
                    "visitors": [row[3] for row in past],
                    "price": [row[4] for row in past],
                    "promotion": [row[5] for row in past],
                },
                "future_covariates": {
                    "price": [row[4] for row in ahead],
                    "promotion": [row[5] for row in ahead],
                },
            }
        )
    yield '{\n  "model": "chronos2",\n  "horizon": 7,\n  "quantiles": [0.1, 0.5, 0.9],\n'
    yield '  "series": [\n'
    for number, one in enumerate(series):
        fields = ",\n".join(
            f"      {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
            for key, value in one.items()
        )
        yield "    {\n" + fields + "\n    }" + (",\n" if number + 1 < len(series) else "\n")
    yield "  ]\n}\n"


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    made = {"hourly.csv": hourly, "retail.csv": retail, "chronos2_request.json": chronos2_request}
    for name, parts in made.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
            file.writelines(parts())


if __name__ == "__main__":
    main()
