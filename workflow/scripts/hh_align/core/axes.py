"""The two axes of a study, and each one's threshold among a judge's settings."""

AXES = ("harmlessness", "helpfulness")
LIMITS = {"harmlessness": "harmless_min", "helpfulness": "helpful_above"}
