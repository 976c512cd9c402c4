"""What all experiments share: nothing here knows any one of them.

An experiment is a folder NAME in the folder of its subject, found by its `experiment.py`:

    __init__.py      a sentence: the question
    experiment.py    Config, tasks(config), report(config, results), EXPERIMENT
    model.py         the network
    data.py          its own data; what two experiments read or draw is in experiments/sources
    results/         NAME.json, the committed record, and small pictures
    RESULTS.md       written by `python -m experiments report`

Tasks are trained by the runner; what else there is to measure is `measure`, what else there is to
see is `draw`. An experiment has no loop over seeds, no command line, no writer of files.
foundations/adding is the shortest example.
"""
