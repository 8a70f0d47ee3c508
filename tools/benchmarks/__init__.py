"""How fast detection, proposals and evaluation are on this machine, with other software timed beside them.

Machines differ and are never quite idle, so whatever is compared is timed in turns (A B C, A B C, ...) and compared
round by round: those ratios are the only numbers that carry over to another machine.
"""
