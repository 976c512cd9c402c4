"""The summary of a run's time adds up what each file took."""

from types import SimpleNamespace

from support import budget


def test_files_are_listed_from_the_dearest_and_added_up():
    took = {"b.py::test_1": 2.0, "b.py::test_1[x]": 1.5, "a.py::test_2": 4.25, "c.py": 0.25}
    reports = [SimpleNamespace(nodeid=name, duration=time) for name, time in took.items()]
    *dearest, total = budget.lines([*reports, SimpleNamespace(items=3)])
    assert dearest == ["    4.2 s  a.py", "    3.5 s  b.py", "    0.2 s  c.py"]
    assert total == f"    8.0 s  in 3 files; the budget of all is {budget.SECONDS} s"


def test_the_dearest_alone_are_listed():
    reports = [SimpleNamespace(nodeid=f"{n}.py::t", duration=1.0) for n in range(30)]
    assert len(budget.lines(reports)) == budget.SHOWN + 1
