"""How much a text repeats itself, by two measures that need no model and no language."""

import zlib
from itertools import islice

NGRAM = 4


def repeated_ngrams(text: str, n: int = NGRAM) -> float:
    """Share of the text's word n-grams that stand in it before, 0 to 1: seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319), over words.

    1 - distinct n-grams / n-grams; 0 for a text of fewer words. A person's text has under 0.01 at n = 4, a loop of few words nearly 1.
    """
    words = text.split()
    ngrams = list(zip(*(islice(words, start, None) for start in range(n)), strict=False))
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def compression(text: str) -> float:
    """Bytes of the text (UTF-8) per byte of zlib's, at its default level; 0 for no text.

    As in Whisper (github.com/openai/whisper, `compression_ratio`), whose limit for a failed transcript is 2.4 at some 200 bytes. It sees
    loops within a word, and in languages without spaces. English prose of any length stays below 3; a short text hardly reaches 1.
    """
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data)) if data else 0.0
