"""One colour and marker per policy, safe for the colour-blind, the same in every figure and on every page."""

# Okabe and Ito's colours, one per policy in the order of the graph
COLOURS = ["#7f7f7f", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442"]
MARKERS = "osD^vP*X"


def colours(order: list[str]) -> dict[str, str]:
    """Policy -> colour, the same in every figure."""
    return {policy: COLOURS[number % len(COLOURS)] for number, policy in enumerate(order)}


def markers(order: list[str]) -> dict[str, str]:
    """Policy -> marker, so that no figure needs its colours to be told apart; colour and marker together are one policy's among 64."""
    return {policy: MARKERS[(number + number // len(MARKERS)) % len(MARKERS)] for number, policy in enumerate(order)}
