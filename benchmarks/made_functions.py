"""Functions of the size and kind of MBPP's references, for made problems; nothing here is from a dataset.

`made.py` takes their source: `K` becomes a small number, so that one function makes several problems, and the names of
the parameters say what they are called with (`made.ARGUMENTS`). A fifth of them needs an import, as in MBPP.
"""

# ruff: noqa: B905, RUF007, SIM110 - written as the programs of that data set are

import collections
import heapq
import itertools
import math
import re

K = 2


def sum_of_rests(items, n):
    total = 0
    for item in items:
        if item % K == n % K:
            total += item
    return total


def count_larger(items):
    limit = sum(items) / len(items) + K
    count = 0
    for item in items:
        if item > limit:
            count = count + 1
    return count


def every_other(items):
    return [item for index, item in enumerate(items) if index % K == 0]


def rotate_left(items, n):
    if not items:
        return []
    n = (n + K) % len(items)
    return items[n:] + items[:n]


def largest_gap(items):
    ordered = sorted(items)
    best = 0
    for left, right in zip(ordered, ordered[1:]):
        if right - left > best:
            best = right - left
    return best * K


def running_totals(items):
    result = []
    total = K
    for item in items:
        total += item
        result.append(total)
    return result


def without_multiples(items):
    result = []
    for item in items:
        if item % K != 0 and item not in result:
            result.append(item)
    return result


def split_at(items):
    return items[:K], items[K:]


def in_chunks(items):
    chunks = []
    for start in range(0, len(items), K):
        chunks.append(tuple(items[start : start + K]))
    return chunks


def most_common_item(items):
    counts = collections.Counter(item % (K + 3) for item in items)
    return max(sorted(counts), key=counts.get)


def smallest_items(items):
    return heapq.nsmallest(K, items)


def largest_products(items, others):
    products = [a * b for a in items for b in others]
    return heapq.nlargest(K, products)


def merged(items, others):
    result = list(heapq.merge(sorted(items), sorted(others)))
    return result[::K]


def pair_sums(items, n):
    found = []
    for a, b in itertools.combinations(sorted(set(items)), 2):
        if (a + b) % K == n % K:
            found.append((a, b))
    return found


def equal_runs(text):
    return [(letter, len(list(group)) * K) for letter, group in itertools.groupby(text)]


def is_increasing(items):
    for index in range(len(items) - 1):
        if items[index] > items[index + 1] + K:
            return False
    return True


def second_smallest(items):
    unique = sorted(set(items))
    if len(unique) < K:
        return None
    return unique[K - 1]


def longest_growth(items):
    best = current = 1
    for index in range(1, len(items)):
        if items[index] > items[index - 1]:
            current += 1
            best = max(best, current)
        else:
            current = 1
    return best + K


def best_sum(items):
    best = here = items[0]
    for item in items[1:]:
        here = max(item, here + item)
        best = max(best, here)
    return best % (10 * K)


def sort_by_rest(items):
    return sorted(items, key=lambda item: (item % K, item))


def common_items(items, others):
    return sorted(set(items) & set(others))[:K]


def difference(items, others):
    result = set()
    for item in items:
        if item not in others:
            result.add(item + K)
    return result


def is_prime_after(n):
    number = n + K
    if number < 2:
        return False
    for divisor in range(2, int(math.sqrt(number)) + 1):
        if number % divisor == 0:
            return False
    return True


def digits_of(n):
    total = 0
    for digit in str(n**K):
        total += int(digit)
    return total


def to_base(n):
    if n == 0:
        return "0"
    digits = ""
    while n > 0:
        digits = str(n % (K + 1)) + digits
        n //= K + 1
    return digits


def divisors(n):
    return [number for number in range(1, n + 1) if n % number == 0 and number % K != 1]


def common_multiple(n, m):
    return n * m // math.gcd(n, m) * K


def area_of_ring(x, y):
    outer, inner = max(x, y), min(x, y)
    return round(math.pi * (outer**2 - inner**2), K)


def distance(point, other):
    total = 0
    for a, b in zip(point, other):
        total += (a - b) ** 2
    return round(math.sqrt(total) * K, 3)


def growing_series(n):
    a, b = 0, 1
    series = []
    for _ in range(n):
        series.append(a)
        a, b = b, a + K * b
    return series


def steps_to_one(n):
    steps = 0
    for _ in range(100):
        if n <= 1:
            break
        n = n // 2 if n % 2 == 0 else K * n + 1
        steps += 1
    return steps


def ways_to_climb(n):
    ways = [1] + [0] * n
    for step in range(1, n + 1):
        for size in range(1, K + 1):
            if size <= step:
                ways[step] += ways[step - size]
    return ways[n]


def is_palindrome(text):
    letters = [letter for letter in text.lower() if letter.isalpha()]
    return letters[:K] == letters[::-1][:K]


def count_vowels(text):
    count = 0
    for letter in text:
        if letter in "aeiouAEIOU":
            count += K
    return count


def long_words(text):
    return [word for word in text.split() if len(word) > K]


def initials(text):
    result = ""
    for word in text.split(" "):
        if len(word) >= K:
            result += word[0].upper() + "."
    return result


def shifted(text):
    result = []
    for letter in text:
        if letter.islower():
            result.append(chr((ord(letter) - 97 + K) % 26 + 97))
        else:
            result.append(letter)
    return "".join(result)


def remove_repeated(text):
    result = ""
    for letter in text:
        if result.count(letter) < K:
            result += letter
    return result


def words_matching(text):
    return re.findall(r"\b[a-z]{K}[a-z]*\b", text)


def numbers_in(text):
    return [int(number) * K for number in re.findall(r"\d+", text)]


def snake_to_camel(text):
    words = re.split(r"[\s_]+", text)
    return "".join(word.title() for word in words[:K]) + "".join(words[K:])


def starts_well(text):
    if re.match(r"^[a-z].{K}", text):
        return "Found a match!"
    return "Not matched!"


def longest_common_prefix(text, word):
    length = 0
    for a, b in zip(text, word):
        if a != b:
            break
        length += 1
    return text[: length + K]


def edit_distance(word, text):
    previous = list(range(len(text) + 1))
    for i, a in enumerate(word, 1):
        current = [i]
        for j, b in enumerate(text, 1):
            cost = 0 if a == b else K
            current.append(min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost))
        previous = current
    return previous[-1]


def letter_counts(text):
    counts = {}
    for letter in text:
        if letter != " ":
            counts[letter] = counts.get(letter, 0) + 1
    return {letter: count for letter, count in counts.items() if count >= K}


def scaled_values(counts):
    return {key: value * K for key, value in counts.items()}


def keys_above(counts):
    result = []
    for key, value in sorted(counts.items()):
        if value > K:
            result.append(key)
    return result


def inverted(counts):
    result = collections.defaultdict(list)
    for key, value in counts.items():
        result[value % K].append(key)
    return dict(result)


def sort_pairs(pairs):
    return sorted(pairs, key=lambda pair: pair[1] % (K + 1))


def sums_of_pairs(pairs):
    result = []
    for first, second in pairs:
        result.append(first * K + second)
    return tuple(result)


def group_pairs(pairs):
    groups = {}
    for first, second in pairs:
        groups.setdefault(first % K, []).append(second)
    return groups


def column_sums(table):
    return [sum(row[column] for row in table) * K for column in range(len(table[0]))]


def transposed(table):
    rows = len(table)
    columns = len(table[0])
    result = []
    for column in range(columns):
        result.append([table[row][column] + K for row in range(rows)])
    return result


def cheapest_path(table):
    costs = [row[:] for row in table]
    for i in range(len(costs)):
        for j in range(len(costs[0])):
            before = []
            if i > 0:
                before.append(costs[i - 1][j])
            if j > 0:
                before.append(costs[i][j - 1])
            if before:
                costs[i][j] += min(before) * (K - 1)
    return costs[-1][-1]


def flat(table):
    return [value for row in table for value in row if value % K == 0]


FUNCTIONS = (
    sum_of_rests, count_larger, every_other, rotate_left, largest_gap, running_totals, without_multiples, split_at,
    in_chunks, most_common_item, smallest_items, largest_products, merged, pair_sums, equal_runs, is_increasing,
    second_smallest, longest_growth, best_sum, sort_by_rest, common_items, difference, is_prime_after, digits_of,
    to_base, divisors, common_multiple, area_of_ring, distance, growing_series, steps_to_one, ways_to_climb,
    is_palindrome, count_vowels, long_words, initials, shifted, remove_repeated, words_matching, numbers_in,
    snake_to_camel, starts_well, longest_common_prefix, edit_distance, letter_counts, scaled_values, keys_above,
    inverted, sort_pairs, sums_of_pairs, group_pairs, column_sums, transposed, cheapest_path, flat,
)  # fmt: skip
