"""Reading amounts, and the conversions against factors from the SI brochure."""

from fractions import Fraction

import pytest

from sophia_jax.rewards.amounts import conversion, read_amount
from sophia_jax.rewards.units import NUMBER, PERCENT


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12 cm", "12"),
        ("12cm", "12"),
        (r"12\text{ cm}", "12"),
        (r"$12 \mathrm{~cm}^{2}$", "12"),
        (r"6+\pi \mathrm{~m}", r"6+\pi"),
        (r"\frac{90}{23}^{\circ}", r"\frac{90}{23}"),
        ("about 12 cm", "12"),
        ("5 square metres", "5"),
        ("5 m·s^{-1}", "5"),
        ("1,000 m", "1,000"),
        (r"\$ 2.30", "2.30"),
        ("€5", "5"),
        (r"5\Omega", "5"),
        (r"5\,\mathrm{k}\Omega", "5"),
        (r"5\ \mu m", "5"),
        (r"5\,\mu\mathrm{m}", "5"),
    ],
)
def test_the_unit_is_split_off(text, number):
    amount = read_amount(text)
    assert amount.number == number
    assert amount.units


@pytest.mark.parametrize(
    "text",
    [
        "12",
        "$12$",
        "5m",  # may be algebra
        "5x",
        r"5\mu",
        r"\sin 30^\circ",
        r"2\cos(60°)",
        "x m",
        "2 a m",
        "12 apples",
        "cm",
        "",
        "3 hours 20 grams",
        "12 cm cm cm cm cm",  # more factors than units have
        "12 m^0",
    ],
)
def test_what_is_no_amount_is_left_alone(text):
    amount = read_amount(text)
    assert (amount.number, amount.units) == (text, ())


@pytest.mark.parametrize(
    ("given", "wanted", "scale"),
    [
        ("1 m", "1 cm", 100),
        (r"1\,\mathrm{k}\Omega", "1 ohm", 1000),
        (r"1\ \mu m", "1 m", Fraction(1, 10**6)),
        ("1 km^2", "1 m^2", 10**6),
        ("1 L", "1 cm³", 1000),
        ("1 ha", "1 m^2", 10**4),
        ("1 inch", "1 mm", Fraction("25.4")),
        ("1 mile", "1 km", Fraction("1.609344")),
        ("1 lb", "1 g", Fraction("453.59237")),
        ("1 km/h", "1 m/s", Fraction(5, 18)),
        ("1 kN", "1 kg m s^{-2}", 1000),
        ("1 kW per hour", "1 J/s/min", Fraction(1000, 60)),
        ("1 day", "1 s", 86400),
        ("1 year", "1 month", 12),
        ("1 dollar", "1 cent", 100),
        ("1%", "1 percent", 1),
        ("1 mL", "1 cc", 1),
        ("1 volt", r"1 A \cdot \Omega".replace(r"\Omega", "Ω"), 1),
    ],
)
def test_units_of_one_quantity_convert(given, wanted, scale):
    change = conversion(read_amount(given), read_amount(wanted))
    assert (change.scale, change.shift, change.pi) == (scale, 0, 0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2 hours 30 minutes", Fraction(5, 2)),
        ("2 h and 45 min", Fraction(11, 4)),
        ("5 cm 3 mm", Fraction(53, 10)),
        ("1 day, 6 hours, and 36 min", Fraction(51, 40)),
    ],
)
def test_an_amount_in_several_units_is_their_sum(text, number):
    amount = read_amount(text)
    assert Fraction(amount.number) == number
    assert amount.units


def test_temperatures_have_zeros_of_their_own():
    # 100 °C = 212 °F = 373.15 K
    for given, wanted, value in [
        ("100 °C", "1 °F", 212),
        ("212°F", "1 °C", 100),
        (r"100^\circ C", "1 K", Fraction("373.15")),
    ]:
        change = conversion(read_amount(given), read_amount(wanted))
        number = Fraction(read_amount(given).number)
        assert change.scale * number + change.shift == value


def test_degrees_become_radians_by_a_factor_of_pi():
    change = conversion(read_amount("180°"), read_amount("1 rad"))
    assert (180 * change.scale, change.pi) == (1, 1)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("1 cm", "1 cm^2"),
        ("1 cm", "1 g"),
        ("1 €", "1 dollar"),
        ("1%", "1 cm"),
        ("1 month", "30 days"),
        ("30°", "30 °C"),
    ],
)
def test_different_quantities_do_not(given, wanted):
    assert conversion(read_amount(given), read_amount(wanted)) is None


def test_a_name_with_two_meanings_converts_as_either():
    assert conversion(read_amount("5 pounds"), read_amount("80 oz")).scale == 16
    assert conversion(read_amount("5 pounds"), read_amount("£5")).scale == 1


def test_a_percentage_is_a_number():
    assert PERCENT.dimension == NUMBER.dimension == ()
    assert PERCENT.factor == Fraction(1, 100)
