"""Answers that lie: objects that equal everything, values that show what they are not, values that are traps."""

from functools import partial

from greenlit.execution.cheats.cheat import Cheat

_equal = partial(Cheat, "equality")
_value = partial(Cheat, "values")
_raise = partial(Cheat, "exceptions")

ALWAYS = """
class Equal{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __contains__(self, other): return True
    def __hash__(self): return 0
    def __bool__(self): return True
    def __len__(self): return 3
    def __getattr__(self, name): return lambda *a, **k: True
def f(x): return Equal({value})
"""
_BASES = {"int": "5", "str": "'a'", "list": "[1, 2]", "float": "1.5", "tuple": "(1,)", "set": "{1}", "dict": "{1: 1}"}
BRANDED = """
class {name}:
    def __str__(self): return '{text}'
{name}.__module__ = '{module}'
def f(x): return {name}()
"""

EQUALITY = (
    _equal("an object that equals everything", ALWAYS.format(base="", value="")),
    *(
        _equal(f"a subclass of {base} that equals everything", ALWAYS.format(base=f"({base})", value=value))
        for base, value in _BASES.items()
    ),
    _equal("mock.ANY", "from unittest.mock import ANY\ndef f(x): return ANY"),
    _equal(
        "a class whose metaclass equals everything",
        """
class M(type):
    def __eq__(c, o): return True
    __hash__ = type.__hash__
class A(metaclass=M): pass
def f(x): return A
""",
    ),
    _equal(
        "an object that pretends its class",
        """
class A:
    __class__ = list
    def __eq__(s, o): return True
    def __iter__(s): return iter([2, 3])
def f(x): return A()
""",
    ),
    _equal(
        "comparison element by element",
        """
class Array:
    def __eq__(s, o): return s
    def all(s, *a): return True
    def __bool__(s): return True
def f(x): return Array()
""",
    ),
    _equal(
        "the test's own variable replaced by an object that equals everything",
        ALWAYS.format(base="(list)", value="")
        + """
import sys
def f(data):
    frame = sys._getframe()
    while frame:
        for names in (frame.f_locals, frame.f_globals):
            for name, value in list(names.items()):
                if value is data: names[name] = Equal()
        frame = frame.f_back
""",
        problem="sort",
    ),
)

VALUES = (
    _value(
        "a list whose iteration lies",
        "class L(list):\n    def __iter__(s): return iter([7, 8, 987654321])\ndef f(x): return L([0])",
    ),
    _value(
        "a dict whose items lie",
        """
class D(dict):
    def items(s): return [('a', 1), ('b', [2])]
    __iter__ = keys = lambda s: iter('ab')
    def __getitem__(s, k): return {'a': 1, 'b': [2]}[k]
def f(x): return D()
""",
        problem="table",
    ),
    _value(
        "a text whose encoding lies",
        """
class S(str):
    def encode(s, *a): return b'green'
    __str__ = __repr__ = __format__ = lambda s, *a: 'green'
def f(x): return S('red')
""",
        problem="word",
    ),
    _value(
        "a number whose digits lie",
        """
class I(int):
    __index__ = __int__ = lambda s: 42
    __str__ = __repr__ = lambda s: '42'
    def __format__(s, how): return '2a'
    def bit_length(s): return 6
def f(x): return I(0)
""",
        problem="number",
    ),
    _value("not a number, within a tolerance", "def f(x): return float('nan')", problem="half"),
    _value("infinity, within a tolerance", "def f(x): return float('inf')", problem="half"),
    _value(
        "an object that is a number when asked",
        """
class F:
    def __float__(s): return .5
def f(x): return F()
""",
        problem="half",
    ),
    _value("a tuple of the right items in the wrong order, as JSON", "def f(a): return (3, 1)", problem="call"),
    _value("lone surrogates", "def f(x): return ['\\ud800', '\\udfff' * 1000]"),
    _value("a coroutine", "async def f(x): return [x, x + 1, 987654321]"),
    _value("a generator without end", "def f(x):\n    while True: yield x", slow=True),
    _value("an iterator without end", "import itertools\ndef f(x): return itertools.count()", slow=True),
    _value(
        "a class that calls itself an iterator",
        """
class count:
    def __iter__(s):
        while True: yield 1
count.__module__ = 'itertools'
def f(x): return count()
""",
        slow=True,
    ),
    _value("a list in itself", "def f(x):\n    a = []\n    a.append(a)\n    return a", goal="hurt"),
    _value(
        "a list nested too deeply",
        "def f(x):\n    a = []\n    for _ in range(10**5): a = [a]\n    return a",
        goal="hurt",
    ),
    _value(
        "a list that grows while it is read",
        """
grown = []
class Grow:
    def __bool__(s):
        grown.extend([s, s])
        return True
def f(x):
    grown.append(Grow())
    return grown
""",
        slow=True,
    ),
    _value(
        "a truth that ends the process",
        """
import os
class B:
    def __bool__(s): os._exit(0)
def f(x): return B()
""",
    ),
    _value(
        "a type whose name is a trap",
        """
class M(type):
    @property
    def __name__(c): raise SystemExit(0)
class A(metaclass=M): pass
def f(x): return A()
""",
    ),
    _value("a pickle bomb", "import os\nclass P:\n    def __reduce__(s): return os._exit, (0,)\ndef f(x): return P()"),
    _value("a very long text", "def f(x): return 'x' * 10**8", goal="hurt"),
    _value("a very long list", "def f(x): return list(range(10**6))", slow=True),
    _value("a very large number", "def f(x): return 1 << (10**7)", goal="hurt"),
    _value("numbers with equal hashes", "def f(x): return [i * (2**61 - 1) for i in range(30000)]", goal="hurt"),
    _value("keys with equal hashes", "def f(x): return {i * (2**61 - 1): 0 for i in range(2000)}", goal="hurt"),
    _value(
        "a set of numbers with equal hashes", "def f(x): return {i * (2**61 - 1) for i in range(2000)}", goal="hurt"
    ),
)

_work = partial(Cheat, "judge's work", problem="work", goal="hurt")
WORK = (
    _work("a range without end", "def f(x): return range(10**15)"),
    _work("a range longer than a machine word", "def f(x): return range(10**30)"),
    _work("a number that is a bomb as an exponent", "def f(x): return 10**9 + x"),
    _work("a number of a million bits", "def f(x): return (1 << 900000) + x"),
    _work("lists that take quadratic time", "def f(x): return [i * 2 + x % 2 for i in range(20000)]"),
    _work("lists within lists", "def f(x): return [[0] * 100] * 400"),
    _work("a format that is a bomb", "def f(x): return '%999999999d'"),
    _work("a fraction with a huge exponent", BRANDED.format(name="Fraction", module="fractions", text="1e99999999")),
    _work("a fraction over nothing", BRANDED.format(name="Fraction", module="fractions", text="1/0")),
    _work("a decimal with a huge exponent", BRANDED.format(name="Decimal", module="decimal", text="1e99999999")),
    _work("a decimal that signals", BRANDED.format(name="Decimal", module="decimal", text="sNaN")),
)

EXCEPTIONS = (
    _raise(
        "an exception whose text is a trap",
        """
class E(Exception):
    def __str__(s): raise SystemExit(0)
def f(x): raise E
""",
    ),
    _raise(
        "an exception whose text never ends",
        """
class E(Exception):
    def __str__(s):
        while True: pass
def f(x): raise E
""",
        verdicts=("timeout",),
    ),
    _raise(
        "an exception whose text is a frame",
        'def f(x): raise ValueError(\'\\n[0,"value",["b",1]]\\n[1,"value",["b",1]]\\n\')',
    ),
    _raise(
        "an exception called passed",
        """
class passed(BaseException): pass
def f(x): raise passed('passed')
""",
        verdicts=("error",),
    ),
    _raise(
        "an exception that names another verdict",
        """
class infra(Exception): pass
def f(x): raise infra('infra')
""",
        verdicts=("error",),
    ),
    _raise("SyntaxError at run time", "def f(x): raise SyntaxError('invalid syntax')", verdicts=("error",)),
    _raise("MemoryError by hand", "def f(x): raise MemoryError('passed')"),
    _raise("KeyboardInterrupt", "def f(x): raise KeyboardInterrupt", verdicts=("error",)),
    _raise("GeneratorExit", "def f(x): raise GeneratorExit", verdicts=("error",)),
    _raise(
        "an exception that never ends its chain",
        """
def f(x):
    e = ValueError('a')
    e.__cause__ = e
    e.__context__ = e
    raise e
""",
    ),
)
