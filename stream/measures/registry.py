"""Every measure the catalog can name. Adding one is a module beside this one and a line here."""

from collections.abc import Callable, Mapping

from stream.measures.base import Measure, Options
from stream.measures.count import Count
from stream.measures.distinct import Distinct
from stream.measures.first import First
from stream.measures.last import Last
from stream.measures.maximum import Max
from stream.measures.mean import Mean
from stream.measures.minimum import Min
from stream.measures.quantile import Quantile
from stream.measures.rate import Rate
from stream.measures.sum import Sum
from stream.measures.top_k import TopK

MEASURES: Mapping[str, Callable[[Options, bool], Measure]] = {
    "count": lambda options, has_value: Count(),
    "sum": lambda options, has_value: Sum(),
    "mean": lambda options, has_value: Mean(),
    "min": lambda options, has_value: Min(),
    "max": lambda options, has_value: Max(),
    "rate": lambda options, has_value: Rate(has_value),
    "first": lambda options, has_value: First(),
    "last": lambda options, has_value: Last(),
    "quantile": lambda options, has_value: Quantile(options.quantiles),
    "distinct": lambda options, has_value: Distinct(options.exact_up_to),
    "top_k": lambda options, has_value: TopK(options.k),
}
"""How each is made of its options and whether its metric has a value; `make` says it in words."""


def make(name: str, options: Options, *, has_value: bool) -> Measure:
    """The measure of a metric. Raises KeyError for an unknown name and ValueError for an option it cannot work with.

    Whether there is a value decides nothing but for measures that take a number or nothing; that the others have what
    they take is for the caller to see to.
    """
    return MEASURES[name](options, has_value)
