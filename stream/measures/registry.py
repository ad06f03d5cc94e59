"""Every measure the catalog can name. Adding one is a module beside this one and a line here."""

from collections.abc import Mapping

from stream.measures.base import Measure
from stream.measures.count import Count
from stream.measures.maximum import Max
from stream.measures.mean import Mean
from stream.measures.minimum import Min
from stream.measures.sum import Sum

MEASURES: Mapping[str, Measure] = {measure.name: measure for measure in (Count(), Sum(), Mean(), Min(), Max())}
