"""The words that people use for what an actor can look like and where they can be, and words around them.

A word stands for the nearest thing that the renderer has: a beach is a desert, a grey shirt a white one.
"""

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "crimson", "scarlet", "maroon", "ruby"),
    "blue": ("blue", "blue", "navy", "navy blue", "azure", "denim", "indigo"),
    "green": ("green", "green", "olive", "lime", "emerald", "khaki"),
    "yellow": ("yellow", "yellow", "golden", "mustard", "lemon"),
    "white": ("white", "white", "cream", "ivory", "beige", "grey", "gray"),
    "black": ("black", "black", "dark", "charcoal"),
    "purple": ("purple", "purple", "violet", "lilac", "lavender"),
    "orange": ("orange", "orange", "brown", "tan"),
    "pink": ("pink", "pink", "rose", "magenta"),
    "cyan": ("cyan", "cyan", "turquoise", "teal", "aqua"),
}
HAIR_WORDS: dict[str, tuple[str, ...]] = {
    "black": ("black", "black", "dark"),
    "brown": ("brown", "brown", "brunette", "chestnut"),
    "blond": ("blond", "blonde", "golden", "fair"),
    "red": ("red", "red", "ginger", "auburn"),
    "grey": ("grey", "gray", "white", "silver"),
}
TOP_WORDS: dict[str, tuple[str, ...]] = {
    "sweater": ("sweater", "sweater", "jumper", "pullover", "hoodie", "sweatshirt", "jacket", "coat",
                "cardigan"),
    "t-shirt": ("t-shirt", "t-shirt", "tshirt", "tee", "shirt", "top", "tank top", "vest", "polo", "blouse"),
}  # fmt: skip
TROUSER_WORDS = ("trousers", "trousers", "pants", "jeans", "leggings", "slacks", "sweatpants", "shorts",
                 "joggers")  # fmt: skip
PLACE_WORDS: dict[str, tuple[str, ...]] = {
    "field": ("on a grassy field", "on a grassy field", "in a park", "on a lawn", "in a meadow", "on the grass",
              "in a garden", "outdoors", "on a football pitch", "in a forest", "in the countryside"),
    "desert": ("in a desert", "in a desert", "in the desert", "on a beach", "at the beach", "on the sand",
               "on sand dunes"),
    "checks": ("on a checkered floor", "on a checkered floor", "on tiles", "on a tiled floor", "in a kitchen",
               "on a chessboard", "in a street", "on a pavement", "in a city"),
    "snow": ("on a snowy plain", "on a snowy plain", "in the snow", "in snow", "on ice", "in winter",
             "on a snowy mountain"),
    "stage": ("on a dark stage", "on a dark stage", "on stage", "on a stage", "in a theatre", "in a theater",
              "at night", "in the dark", "in a nightclub"),
    "wood": ("on a wooden floor", "on a wooden floor", "in a gym", "in a studio", "in a dance hall", "in a room",
             "indoors", "on a parquet floor", "at home", "in an office"),
}  # fmt: skip
PEOPLE = ("a person", "a person", "someone", "an actor", "a performer", "a man", "a woman", "a boy", "a girl", "a guy",
          "a lady", "a dancer", "an athlete", "a child", "a kid", "a teenager", "somebody", "a young man",
          "a young woman", "an old man", "the person", "the man", "the woman", "one person", "a human")  # fmt: skip
HAIR_KINDS = ("", "", "", "long ", "short ", "curly ", "straight ")
SHADES = ("", "", "", "", "dark ", "bright ", "light ", "pale ")
OPENINGS = ("a video of", "a clip of", "footage of", "a short film of", "show", "please show", "i want to see",
            "an animation of", "video :", "a scene with", "make a video of", "there is")  # fmt: skip
ENDINGS = ("in slow motion", "high quality", "4k", "cinematic", "from the side", "full body", "realistic", "hd",
           "in the morning", "on a sunny day", "with a smile", "highly detailed", "static camera", "alone")  # fmt: skip
MANNERS = (
    "",
    "",
    "",
    "",
    "",
    "happily",
    "quickly",
    "slowly",
    "carefully",
    "gracefully",
    "again and again",
    "twice",
)
FILLERS = ("very", "really", "nice", "beautiful", "old", "new", "big", "small", "tall", "happy", "sad", "young", "and",
           "then", "now", "also", "just", "while", "with", "the", "friendly", "tired", "strong", "some", "of", "by",
           "near", "under", "over", "after", "before", "around", "next", "to", "tree", "house", "sun", "sky", "water",
           "dog", "car", "wall", "music", "day", "camera", "light", "background", "front", "style", "scene")  # fmt: skip
OTHER_ACTIONS = ("doing", "performing", "practising", "practicing", "trying", "making", "showing", "is doing")


def all_words() -> list[str]:
    """Every word of the tables, sorted: what a tokenizer needs to know them."""
    by_class = (COLOUR_WORDS, HAIR_WORDS, TOP_WORDS, PLACE_WORDS)
    tables = (
        *(words for table in by_class for words in table.values()),
        *(TROUSER_WORDS, PEOPLE, HAIR_KINDS, SHADES, OPENINGS, ENDINGS, MANNERS, FILLERS, OTHER_ACTIONS),
        ("dressed", "has", "haired", "is wearing", "wears", "he", "she", "they"),
    )
    return sorted({word for table in tables for words in table for word in words.replace("-", " ").split()})
