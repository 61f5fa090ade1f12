"""Scalars of YAML in the ways in which people spell them."""


def _spelt(text: str) -> list[str]:
    """Spellings, two spaces or a line apart."""
    return [spelling for line in text.splitlines() for spelling in line.split("  ") if spelling]


NUMBERS = _spelt(r"""
5  +5  -5  0  -0  5.0  5.5  5.  .5  1e1  1e+1  1E1  1e-1  10e-1  1e3  1_0  1__0  1_0.0  _10  10_
010  0010  08  09  0o10  0O10  0x10  0X1f  0x_10  0b11  0B11  0b12  -0x1  1:30  1:30:00  1,0  1e1_0
0.5e1  12e03  5e  0x  1e400  9223372036854775807  9223372036854775808  18446744073709551616
1234567890123456789012  .inf  -.Inf  +.INF  .nan  Infinity  NaN  '5'  "5"  !!int '5'  !!str 5  ! 5
!!float 5  !!float 5.5  !!int 5.0  !!bool 5  ~  five  5s  1/2  1%  5 # five  5#
""")
WORDS = _spelt("""
y  Y  yes  Yes  YES  yEs  n  N  no  No  NO  on  On  ON  off  Off  OFF  true  True  TRUE  tRue  false
False  FALSE  t  f  1  0  'true'  "yes"  ~  null  Null  NULL  nUll  !!bool yes  !!bool 'y'  none
""")
TEXTS = _spelt(r"""
a  2026-01-01  2026-1-2  2026-01-01T12:30:45Z  2026-01-01 12:30:45  12:30:45  12:30  1:30  12e03
1.10  0123  0x1F  1_000  yes  y  n  on  NULL  null  ~  =  <<  -  .  ..  ...  .5  5.  -.5  +1  -x
+x  0o17  0b1  08  1e3  1e400  .inf  .nan  1234567890123456789012  'it''s'  "\u00e9"  "\U0001F600"
"\x41"  "\ta"  "\x07"  "\x85"  "\0"  "\n"  ''  ""  @  %a  `a`  a#b  a:b  a: b  [a]  {a}  !!str 5
! 5  190:20:30  é  花子  😀  1.2.3  2001-12-14t21:59:43.10-05:00  0x  0b  0o  1__0  1.0  1.e3
12:30:45.5  two words  trailing \  "a\/b"  "花\/"  "a\\/b"  "a\\\/b"  "\N"  "\_"  "\e"  'a
    b'
""")
KEYS = _spelt("""
a  1  010  0x10  1.5  yes  n  ~  2026-01-01  1:30  a/b  a/b/c  a_b  a.b  -a  'a b'  ""  A/b  a.b/C
""")

__all__ = ["KEYS", "NUMBERS", "TEXTS", "WORDS"]
