"""Where tests find files: the checkout, its recipes, their own data, and what lies beside a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
RECIPES = ROOT / "recipes"
MOTIONS = ROOT.parent / "shared" / "motion"  # the motion library, where there is one
