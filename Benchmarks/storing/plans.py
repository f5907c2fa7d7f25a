"""How each store finds what a filter asks for, in its own words: the statements are those that `query` makes
(Sources/SQLiteJobStore/SQLiteJobStore+Reading.swift, Sources/PostgresJobStore/PostgresJobStore+Reading.swift)."""
import collections
import datetime
import re

NUMBERS = {"created": 0, "queued": 1, "running": 2, "completed": 3, "failed": 4, "timeout": 5}
COMPARISONS = {"created_from": ("created_at", ">="), "created_before": ("created_at", "<")}
NAMES = {"runner", "caller_id", "context_id"}


def sqlite(store, filters):
    print("  plans of SQLite", flush=True)
    with store.open() as database:
        for words, filter in filters.items():
            parts, values = lists(filter, "?", "status", is_merged=bool(NAMES & set(filter)))
            values = [milliseconds(value) if re.match(r"\d+-\d+-\d+T", value) else value for value in values]
            selects = [f"SELECT * FROM jobs{' WHERE ' * bool(part)}{part}" for part in parts]
            plan = database.execute(
                f"EXPLAIN QUERY PLAN {' UNION ALL '.join(selects)} ORDER BY created_at DESC, seq DESC LIMIT 11",
                values * len(parts))
            show(words, (line[3] for line in plan), "SCAN|SEARCH|TEMP|MERGE")


def postgres(store, filters):
    print("  plans of PostgreSQL", flush=True)
    order = "ORDER BY created_at DESC, seq DESC LIMIT 11"
    with store.open() as connection:
        for words, filter in filters.items():
            status = "status" if NAMES & set(filter) else "(status + 0)"
            parts, values = lists(filter, "%s", status, is_merged=True)
            values = [value.encode() if re.match("caller-|context-", value) else value for value in values]
            selects = [f"(SELECT * FROM hero_jobs WHERE {part} {order})" for part in parts]
            plan = connection.execute(
                "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "
                f"SELECT * FROM ({' UNION ALL '.join(selects)}) AS j {order}", values * len(parts))
            lines = (re.sub(r" on hero_jobs.*| \(actual.*", "", line.strip().removeprefix("->").strip()) for (line,) in plan)
            show(words, lines, "Scan|Sort$|Append|Removed")


def lists(filter, mark, status, is_merged):
    """The condition of each list that is merged, and the values of one."""
    conditions, values = [], []
    for key, value in filter.items():
        if key != "status":
            column, comparison = COMPARISONS.get(key, (key, "="))
            conditions.append(f"{column} {comparison} {mark}")
            values.append(value)
    numbers = [NUMBERS[filter["status"]]] if "status" in filter else NUMBERS.values() if is_merged else [None]
    return [" AND ".join(conditions + [f"{status} = {n}"] * (n is not None)) for n in numbers], values


def show(words, lines, kept):
    counts = collections.Counter(line for line in lines if re.search(kept, line))
    print(f"    {words:<36} {'; '.join(f'{n} x {line}' if n > 1 else line for line, n in counts.items())}", flush=True)


def milliseconds(text):
    return int(datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() * 1000)
