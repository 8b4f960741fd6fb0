"""Whole programs that read standard input and print, for made problems.

The body of each function is the program; `made.py` takes its source, and `K` becomes a small number. Each reads a
line with a number n and then n lines, each with numbers or words as `made.INPUTS` says.
"""

import collections
import heapq
import math
import re
import sys

K = 2


def total_of_numbers():
    n = int(input())
    total = 0
    for _ in range(n):
        total += sum(int(part) for part in input().split())
    print(total * K)


def line_by_line():
    n = int(input())
    for _ in range(n):
        numbers = list(map(int, input().split()))
        print(max(numbers) - min(numbers) + K)


def sorted_words():
    n = int(input())
    words = []
    for _ in range(n):
        words.extend(input().split())
    for word in sorted(words, key=lambda word: (len(word) % K, word)):
        print(word)


def word_counts():
    lines = sys.stdin.read().split("\n")[1:]
    counts = collections.Counter(word for line in lines for word in line.split())
    for word, count in sorted(counts.items()):
        print(word, count * K)


def cheapest_first():
    read = sys.stdin.readline
    queue = []
    for _ in range(int(read())):
        for part in read().split():
            heapq.heappush(queue, int(part))
    taken = [heapq.heappop(queue) for _ in range(min(K, len(queue)))]
    print(*taken)


def primes_among():
    data = sys.stdin.read().split()
    primes = []
    for text in data[1:]:
        number = abs(int(text)) + K
        if number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1)):
            primes.append(number)
    print(len(primes))
    print(" ".join(map(str, primes)))


def average():
    n = int(input())
    numbers = []
    for _ in range(n):
        numbers += [float(part) for part in input().split()]
    print(f"{K * sum(numbers) / len(numbers):.3f}")


def capitals():
    n = int(input())
    for _ in range(n):
        line = input()
        print(re.sub(r"\b[a-z]{K}", lambda found: found.group().upper(), line))


def longest_line():
    lines = [line.strip() for line in sys.stdin]
    best = ""
    for line in lines[1:]:
        if len(line) > len(best):
            best = line
    print(best[::-1] * (K - 1))


def table_of_sums():
    rows = [list(map(int, input().split())) for _ in range(int(input()))]
    for row in rows:
        total = 0
        sums = []
        for value in row:
            total += value
            sums.append(total % (100 * K))
        sys.stdout.write(" ".join(map(str, sums)) + "\n")


def best_change():
    def fewest(amount, coins):
        best = [0] + [amount + 1] * amount
        for value in range(1, amount + 1):
            for coin in coins:
                if coin <= value:
                    best[value] = min(best[value], best[value - coin] + 1)
        return best[amount]

    n = int(input())
    for _ in range(n):
        print(fewest(sum(abs(int(part)) for part in input().split()) % 60, [1, K, 3 * K + 1]))


def palindromes():
    n = int(input())
    found = 0
    for _ in range(n):
        for word in input().split():
            if word[:K] == word[::-1][:K]:
                found += 1
    print("YES" if found else "NO", found)


PROGRAMS = {
    total_of_numbers: "numbers", line_by_line: "numbers", sorted_words: "words", word_counts: "words",
    cheapest_first: "numbers", primes_among: "numbers", average: "numbers", capitals: "words", longest_line: "words",
    table_of_sums: "numbers", best_change: "numbers", palindromes: "words",
}  # fmt: skip
"""Program -> what stands on its input lines."""
