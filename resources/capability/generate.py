"""Makes the items of resources/capability: multiple choice whose truth a small English model can partly know. `python generate.py` writes them.

Our own lists and templates (MIT, as the project). Each task's options come from one list, so that an option is right in one item and wrong in
another, and knowing which words are frequent does not answer.
"""

import json
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

SEED = 1
HERE = Path(__file__).parent
NOUNS = "key:keys dog:dogs teacher:teachers picture:pictures farmer:farmers book:books student:students house:houses flower:flowers driver:drivers"
NUMBERS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
OPPOSITES = (
    "hot:cold big:small fast:slow high:low old:young rich:poor light:dark hard:soft wet:dry early:late happy:sad strong:weak full:empty "
    "open:closed clean:dirty long:short good:bad right:wrong near:far loud:quiet"
)
KINDS = {
    "fruit": "apple banana pear plum peach",
    "bird": "robin eagle owl sparrow parrot",
    "fish": "salmon tuna cod trout shark",
    "tool": "hammer saw wrench screwdriver drill",
    "colour": "red blue green yellow purple",
    "vehicle": "car truck bus van motorcycle",
    "insect": "bee ant beetle butterfly mosquito",
    "metal": "iron gold copper silver tin",
    "vegetable": "carrot potato cabbage onion spinach",
    "instrument": "piano violin guitar flute trumpet",
    "sport": "football tennis hockey golf basketball",
    "language": "French German Spanish Italian Japanese",
    "planet": "Mars Venus Jupiter Saturn Neptune",
    "garment": "shirt coat skirt jacket sweater",
    "tree": "oak pine birch maple willow",
    "month": "April June August October December",
}
CAPITALS = (
    "France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Greece:Athens Austria:Vienna Poland:Warsaw Hungary:Budapest "
    "Norway:Oslo Sweden:Stockholm Denmark:Copenhagen Finland:Helsinki Ireland:Dublin Russia:Moscow Ukraine:Kyiv Turkey:Ankara Egypt:Cairo "
    "Kenya:Nairobi Ethiopia:Addis_Ababa Iraq:Baghdad Iran:Tehran India:New_Delhi China:Beijing Japan:Tokyo Thailand:Bangkok Vietnam:Hanoi "
    "Indonesia:Jakarta Australia:Canberra Canada:Ottawa Mexico:Mexico_City Cuba:Havana Peru:Lima Chile:Santiago Argentina:Buenos_Aires "
    "Brazil:Brasília Colombia:Bogotá Venezuela:Caracas England:London Scotland:Edinburgh Belgium:Brussels Bulgaria:Sofia Romania:Bucharest "
    "Serbia:Belgrade Croatia:Zagreb Iceland:Reykjavik Pakistan:Islamabad Nepal:Kathmandu Morocco:Rabat Algeria:Algiers"
)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
MONTHS = "January February March April May June July August September October November December"
LETTERS = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"

Item = tuple[str, str, Sequence[str]]
"""What stands before, the right option, and the list that the wrong ones are drawn from."""


def pairs(text: str) -> list[list[str]]:
    return [[part.replace("_", " ") for part in pair.split(":")] for pair in text.split()]


def agreement() -> Iterator[Item]:
    """The verb agrees with its subject, not with the noun between them (as the minimal pairs of BLiMP, Warstadt et al. 2020, try it)."""
    nouns, places = pairs(NOUNS), ("near", "behind", "beside", "with")
    for number, (singular, plural) in enumerate(nouns):
        other, others = nouns[(number + 3) % len(nouns)]
        for step, (subject, right) in enumerate(((singular, 0), (plural, 1))):
            for turn, verbs in enumerate((("is", "are"), ("was", "were"), ("has", "have"), ("looks", "look"))):
                between = (others, other)[right] if (number + step + turn) % 2 else (other, others)[right]
                yield f"The {subject} {places[(number + turn) % 4]} the {between}", verbs[right], verbs


def arithmetic() -> Iterator[Item]:
    """Sums and differences of small numbers, in words."""
    numbers = NUMBERS.split()
    for first in range(1, 10):
        for second in range(1, 10, 2):
            yield f"{numbers[first - 1].capitalize()} plus {numbers[second - 1]} equals", numbers[first + second - 1], numbers
    for first in range(4, 13):
        for second in range(1, 4):
            yield f"{numbers[first - 1].capitalize()} minus {numbers[second - 1]} equals", numbers[first - second - 1], numbers


def opposites() -> Iterator[Item]:
    """The opposite of a word, both ways round."""
    words = pairs(OPPOSITES)
    both = [word for pair in words for word in pair]
    for first, second in words:
        yield f"The opposite of {first} is", second, [word for word in both if word != first]
        yield f"The opposite of {second} is", first, [word for word in both if word != second]


def kinds() -> Iterator[Item]:
    """What kind of thing something is."""
    for kind, members in KINDS.items():
        for member in members.split():
            yield f'The word "{member}" names a kind of', kind, list(KINDS)


def capitals() -> Iterator[Item]:
    """The capital of a country."""
    cities = [city for _, city in pairs(CAPITALS)]
    for country, city in pairs(CAPITALS):
        yield f"The capital of {country.replace('_', ' ')} is", city, cities


def sequences() -> Iterator[Item]:
    """What comes next, or comes before: days, months, letters, numbers."""
    days, months, letters, numbers = (text.split() for text in (DAYS, MONTHS, LETTERS, NUMBERS))
    for number, day in enumerate(days):
        yield f"The day after {day} is", days[(number + 1) % 7], days
        yield f"The day before {day} is", days[number - 1], days
    for number, month in enumerate(months):
        yield f"The month after {month} is", months[(number + 1) % 12], months
        yield f"The month before {month} is", months[number - 1], months
    for first, second in pairwise(letters):
        yield f"In the alphabet, the letter after {first} is", second, letters
    for first, second in pairwise(numbers):
        yield f"The number after {first} is", second, numbers


TASKS = {
    "agreement": agreement,
    "arithmetic": arithmetic,
    "opposites": opposites,
    "kinds": kinds,
    "capitals": capitals,
    "sequences": sequences,
}
OPTIONS = 4


def items_of(task: str) -> list[dict]:
    """The task's items: context, options in a drawn order (two, or four of which three are drawn from the list), and the number of the right one."""
    stream, items = random.Random(f"{SEED} {task}"), []
    for context, right, words in TASKS[task]():
        wrong = [word for word in dict.fromkeys(words) if word != right and word not in context.split()]
        options = [right, *stream.sample(wrong, min(OPTIONS - 1, len(wrong)))]
        stream.shuffle(options)
        items.append({"context": context, "options": options, "answer": options.index(right)})
    return items


def text_of(task: str) -> str:
    """The file of a task: an item a line."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items_of(task))


if __name__ == "__main__":
    for name in TASKS:
        (HERE / f"{name}.jsonl").write_text(text_of(name), encoding="utf-8")
