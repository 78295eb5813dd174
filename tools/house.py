"""Draw the library's rooms and what each imports, from the imports themselves: python tools/house.py"""

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "book" / "assets" / "house.svg"
WIDTH, LEFT, RIGHT, FLOOR, GAP = 830, 170, 660, 62, 14
LETTER = 7.9  # the width of a letter of the modules' names
STYLE = (
    "text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#1f2933}"
    ".room{font:600 16px system-ui,sans-serif}.about{font:12px system-ui,sans-serif;fill:#52606d}"
    ".floor{fill:#fff;stroke:#cbd2d9}.arrow{fill:none;stroke:#7b8794}.head{fill:#7b8794}"
)


def rooms() -> list[list[str]]:
    """The floors from the top down, as import-linter's contract has them; some hold two rooms."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def modules(room: str) -> list[str]:
    """The names of a room's files."""
    paths = sorted((ROOT / "src" / "qlearn" / room).glob("*.py"))
    return [path.stem for path in paths if path.stem != "__init__"]


def chapters(room: str) -> str:
    """What the room's first line says in parentheses."""
    first = (ROOT / "src" / "qlearn" / room / "__init__.py").read_text().splitlines()[0]
    return first.partition("(")[2].partition(")")[0].partition(",")[0]


def imports(order: list[str]) -> dict[tuple[str, str], int]:
    """(room, a room that it imports from) -> how many of its files' imports that are."""
    graph = grimp.build_graph("qlearn", cache_dir=None)
    counts: dict[tuple[str, str], int] = {}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pair = (f"{importer}..".split(".")[1], f"{imported}..".split(".")[1])
            if pair[0] != pair[1] and set(pair) <= set(order):
                counts[pair] = counts.get(pair, 0) + 1
    return counts


def wrapped(names: list[str], width: float) -> list[str]:
    """The names in lines that are not wider."""
    lines = [""]
    for name in names:
        longer = f"{lines[-1]}\u00a0 {name}".strip()
        if len(longer) * LETTER <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(name)
    return lines


def picture() -> str:
    """The rooms as floors, a line of names each, and an arrow down for each room that is imported from."""
    order = [room for floor in rooms() for room in floor]
    tops, parts, y = {}, [], 12.0
    for room in order:
        lines = wrapped(modules(room), RIGHT - LEFT - 24) if modules(room) else ["PyTorch's outputs, .npz"]
        height = max(FLOOR, 26 + 19 * len(lines))
        tops[room] = (y, height)
        parts.append(f'<rect class="floor" x="12" y="{y:g}" width="{RIGHT - 12}" height="{height}" rx="6"/>')
        parts.append(f'<text class="room" x="28" y="{y + 28:g}">{room}</text>')
        parts.append(f'<text class="about" x="28" y="{y + 47:g}">{escape(chapters(room))}</text>')
        middle = y + height / 2 - 9.5 * (len(lines) - 1) + 4.5
        parts += [f'<text x="{LEFT}" y="{middle + 19 * i:g}">{line}</text>' for i, line in enumerate(lines)]
        y += height + GAP
    pairs = sorted(imports(order).items(), key=lambda item: [order.index(room) for room in item[0]])
    ends = {room: [pair for pair, _ in pairs if pair[1] == room] for room in order}  # from the top down: what comes
    for pair, _ in pairs:
        ends[pair[0]].append(pair)  # and what goes
    for pair, count in pairs:
        start, stop = (
            tops[room][0] + tops[room][1] * (ends[room].index(pair) + 1) / (len(ends[room]) + 1) for room in pair
        )
        reach = RIGHT + 24 + (stop - start) * 0.33
        thickness = 1 + min(count, 40) / 12
        curve = f"M{RIGHT} {start:.1f}C{reach:.1f} {start:.1f} {reach:.1f} {stop:.1f} {RIGHT + 9} {stop:.1f}"
        parts.append(f'<path class="arrow" stroke-width="{thickness:.2f}" d="{curve}"/>')
        parts.append(f'<path class="head" d="M{RIGHT + 1} {stop:.1f}l10 -4.5v9z"/>')
    words = ", ".join(f"{room} from {other}" for (room, other), _ in pairs)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:g}" role="img" '
        f'aria-label="The rooms of qlearn, and who imports from whom: {words}"><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{y:g}" rx="10" fill="#f5f7fa"/>{"".join(parts)}</svg>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture() + "\n", encoding="utf-8")
