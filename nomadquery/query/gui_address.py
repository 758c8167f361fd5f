"""Tree → address of NOMAD's search page, and such an address → the query that the page sends.

An address reads ``…/gui/search/<app>?name=value&name[gte]=1.5 eV&section[name]=value``. Facts
(``gui/src/components/search/SearchContext.js``, ``gui/src/utils.js``; the same in 1.3.17, 1.4.3 and
2.0.0 but where said):

* Parameters are written and read by the JavaScript library *qs*: brackets nest, a repeated name
  makes a list, and so does a comma that is not percent-encoded (pages up to 1.3 left it so).
* Several values mean any-of or all-of, as `gui_filters` says; inside a section a list is sent bare,
  which is all-of. Dates are epoch milliseconds. A number carries the unit it was shown in, ``1.5 eV``;
  without one it is in the unit that NOMAD stores (1.3 fails there if the quantity has a dimension).
* ``visibility`` is the owner of the request, ``visible`` if absent. ``exclusive=true`` turns the
  elements into one text, ``elements_exclusive``. ``custom_quantities`` is a query object, encoded twice.
* Every app adds filters of its own that its addresses do not show.
* The page's API panel shows ``{"owner": …, "query": …}``, with names as in the index, suffixes
  (``name:any``), numbers in the stored unit, and the app's filters in an ``and``.

The newer interface below ``/gui/v2`` is another program; how it writes addresses is not published.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_plus

from nomadquery.errors import NotExpressible, QueryError, WouldBeMisread
from nomadquery.query.gui_filters import APPS, FILTERS, PROPERTY_GROUPS, full_filter_name
from nomadquery.query.params import OWNERS, SIDES, TypeOf, read_as

#: What stands below one name: its texts, or what its brackets hold.
Branch = list[str] | dict[str, "Branch"]
#: (quantity, number, unit text) → the number in the unit that NOMAD stores.
ToStored = Callable[[str, float, str], float]

_LOGIN_MARKS: Final = re.compile(r"#(?:state|iss|error)=.*", re.DOTALL)
_KEY: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PAGE: Final = re.compile(r"/gui/(?:search/([^/]+)|user/search)/?")
_MOST_PARAMETERS: Final = 1000
