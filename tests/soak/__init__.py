"""Two real servers on one file, under load, while all kinds of harm come to them.

`harms` kills, pauses, stops and restarts them, locks their database and sets the machine's clock;
`load` starts runs of the workflows in `app`, decides what they ask and remembers how they should
end; `judge` compares. A body may begin a second time only if harm came to the process of the first
between the two beginnings.

    python -m tests.soak --minutes 10 --seed 1
"""
