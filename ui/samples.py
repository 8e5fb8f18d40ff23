"""Texts to try classifiers on, written for this page: by the task's name, first text and second."""

from __future__ import annotations

ENTAILMENT = (
    (
        "Harbour",
        "Two ferries were tied up at the quay because the storm had closed the harbour since morning.",
        "No ferry could leave the harbour.",
    ),
    ("Choir", "The choir rehearses every Tuesday evening in the old fire station.", "The choir has forty members."),
    (
        "Oven",
        "Mara left the bread in the oven far too long, and its crust turned black.",
        "The bread was baked for the right time.",
    ),
    (
        "Museum",
        "Children under twelve enter the museum free of charge, but adults pay nine euros.",
        "A ten-year-old does not pay for a ticket to the museum.",
    ),
    ("Bridge", "The new bridge carries only trains, so cyclists take the ferry.", "Cyclists ride over the bridge."),
)

SAMPLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "sst2": (
        ("A film", "A warm and funny film whose two leads are a joy to watch from the first scene to the last."),
        ("A dull plot", "The plot creaks along for two hours and then ends as if somebody had run out of paper."),
        ("Mixed feelings", "Gorgeous pictures, sadly wasted on a script that has nothing to say."),
        ("Understatement", "I expected very little and was wrong about nearly everything."),
        ("Negation", "It is not a bad way at all to spend a rainy evening."),
    ),
    "cola": (
        ("Plain", "The gardener watered the roses before breakfast."),
        ("Wrong order", "The gardener the roses before watered breakfast."),
        ("Question", "Which letter did the clerk forget to post?"),
        ("Two questions", "Which letter did the clerk wonder who had posted the stamp?"),
        ("Agreement", "The keys to the cellar is on the table."),
    ),
    "mnli": ENTAILMENT,
    "rte": ENTAILMENT,
    "qnli": (
        (
            "Answered",
            "When did the lighthouse begin to work?",
            "The lamp of the lighthouse was lit for the first time in October 1871.",
        ),
        (
            "Not answered",
            "Who designed the lighthouse?",
            "The lighthouse stands on a rock two miles off the coast and has 196 steps.",
        ),
        ("Near", "How long is the tunnel?", "It took eleven years to dig the tunnel, three more than planned."),
    ),
    "mrpc": (
        (
            "The same",
            "The council approved the new tram line on Monday by a narrow vote.",
            "On Monday a small majority of the council voted for the new tram line.",
        ),
        (
            "More said",
            "The factory will close at the end of May.",
            "The factory, which employs 300 people, may be sold before the end of May.",
        ),
        ("Swapped", "The visitors beat the home team in the last minute.", "The home team beat the visitors at once."),
    ),
    "qqp": (
        ("The same", "How do I keep basil alive in winter?", "What helps basil plants to survive the winter?"),
        ("Different", "How do I keep basil alive in winter?", "How do I dry basil for the winter?"),
        ("Near", "Is it safe to drink rain water?", "Can I water my plants with rain water?"),
    ),
    "stsb": (
        ("Nearly the same", "A boy is playing the drums in a garage.", "A young boy plays drums in a garage."),
        ("Related", "A woman is slicing an onion.", "A woman is peeling a potato."),
        ("Unrelated", "The train to Lisbon leaves at noon.", "Two kittens are asleep in a basket."),
        ("Negated", "The shop is open on Sundays.", "The shop is never open on Sundays."),
    ),
}
SAMPLES["tokens"] = (
    (
        "A letter",
        "Dear Ms Okafor, thank you for visiting our office in Rotterdam on Monday. Dr Lindqvist of Hartwell Shipping "
        "will call you from Oslo.",
    ),
    ("News", "The mayor of Lyon and the head of Vega Rail opened the new line to Turin on Friday."),
    (
        "Personal data",
        "My name is Joana Prado, I live at 14 Mill Lane in Leeds, and my e-mail address is joana.prado@example.org.",
    ),
    ("Film", "Ingrid Solberg plays a detective in The Last Lighthouse, which Northern Film made in Iceland."),
    ("Nothing", "It rained all day, so nobody went out."),
)
SAMPLES.update(
    {
        "embeddings": (
            (
                "A small search",
                "How do I keep basil alive in winter?",
                "A warm windowsill brings basil through the cold months.\n"
                "Basil dries best in small bunches.\n"
                "The museum is closed in winter.\n"
                "Tomatoes want more sun than herbs.",
            ),
            ("Two texts", "A boy is playing the drums in a garage.", "A young boy plays drums in a garage."),
            (
                "Near and far",
                "The shop is open on Sundays.",
                "On Sundays the shop opens at ten.\nThe shop is never open on Sundays.\nTwo kittens sleep in a basket.",
            ),
        ),
        "ranking": (
            (
                "Which answers",
                "How long is the tunnel?",
                "It took eleven years to dig the tunnel, three more than planned.\n"
                "The tunnel is fifteen kilometres long and lies under two rivers.\n"
                "The bridge beside it is a kilometre long.",
            ),
            (
                "Who",
                "Who wrote the letter?",
                "The letter was sent in May.\nAnna wrote the letter on the night train.\nNobody has read the letter.",
            ),
        ),
    }
)
GENERAL = SAMPLES["sst2"][:3]  # for a classifier of which nothing is known
