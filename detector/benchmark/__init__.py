"""How long a detection takes on this machine, with other software timed beside it.

    benchmark(default_photo(), threads=2).table()

Machines differ and are never quite idle. So what is compared is timed in turns (A B C, A B C, ...) and judged round
by round: of all the numbers, these ratios are the ones that mean something on another machine.
"""
