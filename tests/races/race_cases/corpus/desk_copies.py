"""Compare-and-set, versions and copy-on-write."""

from types import MappingProxyType, SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def lockers():
    return SimpleNamespace(head="x", after={"x": "y", "y": "z", "z": None}, version=0, used=[])


async def take_by_name(s):
    head = s.head
    after = s.after[head]
    await io()
    if s.head == head:
        s.head = after
        s.used.append(head)


async def take_by_version(s):
    head, version = s.head, s.version
    after = s.after[head]
    await io()
    if s.version == version:
        s.head, s.version = after, version + 1
        s.used.append(head)


async def take_two_and_give_one_back(s):
    await io()
    first, second = s.head, s.after[s.head]
    s.head = s.after[second]
    s.used.append(second)
    s.version += 1
    await io()
    s.after[first] = s.head
    s.head = first
    s.version += 1


def head_is_free(s, r):
    return s.head not in s.used and len(set(s.used)) == len(s.used)


case(
    WRONG,
    "the head has the same name again, but what comes after it has changed (ABA): y is free and in use",
    make=lockers,
    check=head_is_free,
    requests={"A": take_by_name, "B": take_two_and_give_one_back},
)(take_by_name)

case(
    RIGHT,
    "the version moves with every change, so the same name again is no longer the same state",
    make=lockers,
    check=head_is_free,
    requests={"A": take_by_version, "B": take_two_and_give_one_back},
)(take_by_version)


def price_list():
    return SimpleNamespace(prices=MappingProxyType({"tea": 1}), rules={"tiers": [1, 2]}, saved=(1, "draft"))


def setting(key, publish):
    async def change(s):
        await publish(s, key)

    return change


async def copy_swapped_after_an_await(s, key):
    prices = dict(s.prices)
    prices[key] = 2
    await io()
    s.prices = MappingProxyType(prices)


async def copy_swapped_at_once(s, key):
    await io()
    s.prices = MappingProxyType({**s.prices, key: 2})
    await io()


case(
    WRONG,
    "both copy the same list, and the second swap forgets the price of the first",
    make=price_list,
    check=lambda s, r: set(s.prices) == {"tea", "rice", "salt"},
    requests={
        "A": setting("rice", copy_swapped_after_an_await),
        "B": setting("salt", copy_swapped_after_an_await),
    },
)(copy_swapped_after_an_await)

case(
    RIGHT,
    "copy and swap are one step, after the last check that waits",
    make=price_list,
    check=lambda s, r: set(s.prices) == {"tea", "rice", "salt"},
    requests={"A": setting("rice", copy_swapped_at_once), "B": setting("salt", copy_swapped_at_once)},
)(copy_swapped_at_once)


async def read_tiers(s):
    rules = s.rules
    first = rules["tiers"][0]
    await io()
    return first, rules["tiers"][-1]


async def shallow_copy_of_the_rules(s):
    rules = dict(s.rules)
    rules["tiers"][0] = 10
    rules["tiers"][-1] = 20
    await io()
    s.rules = rules


async def deep_copy_of_the_rules(s):
    rules = {**s.rules, "tiers": [10, 20]}
    await io()
    s.rules = rules


case(
    WRONG,
    "the copy shares the inner list, and the reader with the old rules sees it change under its hands",
    make=price_list,
    check=lambda s, r: r["reader"] in ((1, 2), (10, 20)),
    requests={"reader": read_tiers, "writer": shallow_copy_of_the_rules},
)(shallow_copy_of_the_rules)

case(
    RIGHT,
    "nothing that a reader can hold is ever changed, and each reads from the rules it took first",
    make=price_list,
    check=lambda s, r: r["reader"] in ((1, 2), (10, 20)),
    requests={"reader": read_tiers, "writer": deep_copy_of_the_rules},
)(deep_copy_of_the_rules)


@case(
    WRONG,
    "If-Match is compared before the await and the row is replaced after it: both are told 200",
    make=price_list,
    check=lambda s, r: sorted(r.values()) == [200, 412],
)
async def if_match_before_the_await(s):
    version, _ = s.saved
    if version != 1:
        return 412
    await io()
    s.saved = (version + 1, "mine")
    return 200
