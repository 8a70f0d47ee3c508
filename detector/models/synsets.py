"""Classes by WordNet id: the names and synonyms of ImageNet's classes, and other classes as sets of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.errors import InputError
from detector.io.text import open_text
from detector.structures.class_names import WORDNET_ID


@dataclass(frozen=True)
class SynsetClasses:
    """Classes, each a set of the classes of an ImageNet classifier.

    Attributes:
        names: (C,) distinct.
        synsets: (C,) WordNet id of each class, distinct.
        members: (C,) indices of the classifier's classes that each class consists of.
        synonyms: the name of a class by every word that means it alone, in lower case: the name itself, WordNet's
            lemmas and the WordNet id.
    """

    names: tuple[str, ...]
    synsets: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    synonyms: Mapping[str, str]


def synset_classes(classifier_classes: Sequence[str], path: Path | None = None) -> SynsetClasses:
    """The classes of a file, or all of a classifier.

    A line of the file has three columns separated by tabs, of which the last two may be missing: a WordNet id; a name,
    by default the first lemma; and the WordNet ids of the classifier's classes that belong to it, separated by commas,
    by default that of the line itself. Lines that are empty or begin with # are skipped.

    Args:
        classifier_classes: such as "n02099601 golden retriever", the WordNet id and the lemmas, separated by commas.

    Raises:
        InputError: the classifier's classes have no WordNet ids, the file cannot be read, or a line is wrong.
    """
    ids, lemmas = [], []
    for name in classifier_classes:
        synset, _, words = name.partition(" ")
        if not WORDNET_ID.fullmatch(synset) or not words:
            raise InputError(
                f"the classifier's class {name!r} has no WordNet id; it needs one, as in 'n01440764 tench'"
            )
        ids.append(synset)
        lemmas.append([word.strip() for word in words.split(",")])
    known = {synset: index for index, synset in enumerate(ids)}
    counts = Counter(words[0].casefold() for words in lemmas)
    # Two classes are called "crane", a bird and a machine, and a dog is called "Cardigan".
    first = {i: w[0] if counts[w[0].casefold()] == 1 else f"{w[0]} ({i})" for i, w in zip(ids, lemmas, strict=True)}
    members: tuple[tuple[int, ...], ...] = tuple((index,) for index in range(len(ids)))
    names, synsets = tuple(first.values()), tuple(ids)
    if path is not None:
        names, synsets, members = _read(path, first, known)
    words_of = [(name, [synset]) for name, synset in zip(names, synsets, strict=True)]
    words_of += [(name, lemmas[m[0]]) for name, m in zip(names, members, strict=True) if len(m) == 1]
    times = Counter(word.casefold() for _, words in words_of for word in set(words))
    synonyms = {word.casefold(): name for name, words in words_of for word in words if times[word.casefold()] == 1}
    return SynsetClasses(names, synsets, members, synonyms | {name.casefold(): name for name in names})


def _read(
    path: Path, first: Mapping[str, str], known: Mapping[str, int]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[int, ...], ...]]:
    rows: dict[str, tuple[str, tuple[int, ...]]] = {}
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            synset, name, listed = ([part.strip() for part in line.split("\t")] + ["", ""])[:3]
            if not WORDNET_ID.fullmatch(synset):
                raise InputError(f"{path}: line {number} begins with {synset!r}; give a WordNet id, such as n02099601")
            members = [part.strip() for part in listed.split(",")] if listed else [synset]
            for member in members:
                if member not in known:
                    raise InputError(f"{path}: line {number}: the classifier has no class {member}")
            name = name or first.get(synset, synset)
            if synset in rows or name in {other for other, _ in rows.values()}:
                raise InputError(f"{path}: line {number}: {synset} {name} is there twice")
            rows[synset] = name, tuple(known[member] for member in members)
    if not rows:
        raise InputError(f"{path}: holds no class; give one a line, beginning with its WordNet id")
    return tuple(name for name, _ in rows.values()), tuple(rows), tuple(members for _, members in rows.values())
