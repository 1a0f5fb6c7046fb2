"""The picture of the wings, drawn from the imports of the package: docs/images/wings.svg. Its colours are readable on light and dark pages.

python docs/wings.py
"""

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "workflow/scripts/hh_align"
PICTURE = REPOSITORY / "docs/images/wings.svg"
WINGS = {
    "config": "a study, read and checked",
    "data": "preferences and prompts",
    "models": "weights, tokens, decoding, judging",
    "training": "policies",
    "evaluation": "responses, rewards, drift",
    "analysis": "ratings, intervals, verdicts",
    "report": "tables, figures, pages",
    "tools": "what people call by hand",
}
ROWS = {wing: row for row, wing in enumerate(WINGS)}
Link = tuple[str, str]
"""(wing, wing that it imports)"""

WIDTH, BAND, LEFT, RIGHT = 380, 36, 50, 282
ROW, BOX = 60, 44
FILL, CORE, ARROW = "#3f51b5", "#303f9f", "#7a83b0"


def imports(package: Path = PACKAGE) -> set[Link]:
    """Which wing imports which other one."""
    return {
        (path.parent.name, other)
        for path in package.glob("*/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package.name}.")
        for other in [node.module.split(".")[1]]
        if other != path.parent.name
    }


def height(wing: str, link: Link, links: list[Link]) -> float:
    """Where a link meets a wing's box: those that leave it above those that reach it, each so that they do not cross."""
    at_wing = sorted((each for each in links if wing in each), key=lambda each: (each[0] != wing, -ROWS[each[0]] - ROWS[each[1]]))
    return ROWS[wing] * ROW + BOX * (at_wing.index(link) + 1) / (len(at_wing) + 1)


def arrow(link: Link, links: list[Link]) -> str:
    wing, other = link
    start, end = height(wing, link, links), height(other, link, links)
    reach = RIGHT + 16 + 15 * (ROWS[wing] - ROWS[other])
    line = f"M{RIGHT} {start:.1f} C{reach} {start:.1f} {reach} {end:.1f} {RIGHT + 8} {end:.1f}"
    return (
        f'<path d="{line}" fill="none" stroke="{ARROW}" stroke-width="1.6"><title>{wing} imports {other}</title></path>'
        f'<path d="M{RIGHT + 1} {end:.1f} l8 -4 v8 z" fill="{ARROW}"/>'
    )


def box(wing: str) -> str:
    top = ROWS[wing] * ROW
    return (
        f'<rect x="{LEFT}" y="{top}" width="{RIGHT - LEFT}" height="{BOX}" rx="6" fill="{FILL}"/>'
        f'<text x="{LEFT + 12}" y="{top + 18}" font-weight="bold">{wing}</text>'
        f'<text x="{LEFT + 12}" y="{top + 35}" font-size="12">{WINGS[wing]}</text>'
    )


def draw(links: set[Link]) -> str:
    """The picture as SVG: a box per wing, from top to bottom as the data go; an arrow leads to the wing that is imported. All stand on core."""
    drawn = sorted(link for link in links if "core" not in link)
    tall = ROW * (len(WINGS) - 1) + BOX
    band = (
        f'<rect width="{BAND}" height="{tall}" rx="6" fill="{CORE}"/><text transform="translate({BAND // 2 + 5} {tall // 2}) rotate(-90)" '
        'text-anchor="middle"><tspan font-weight="bold">core</tspan>, which every wing imports</text>'
    )
    shapes = "\n".join([band, *map(box, WINGS), *(arrow(link, drawn) for link in drawn)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall}" width="{WIDTH}" height="{tall}" '
        f'font-family="sans-serif" font-size="14" fill="#fff">\n<title>The wings of {PACKAGE.name} and their imports</title>\n{shapes}\n</svg>\n'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(imports()))
