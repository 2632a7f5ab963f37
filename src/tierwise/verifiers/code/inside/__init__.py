"""What runs inside the sandbox when Python is tested: the tests in one process, the answer in another.

None of these files is imported here: a bare interpreter gets them as compiled code, where Tierwise is not installed.
`start.py` forks, `wire.py` carries plain data, `tester.py` and `remote.py` are the side of the tests, `answer.py` is
the side of the answer.
"""
