"""What was asked, and what failed. See `run`."""

asked, failures = [], []


def check(what, problems):
    """One claim, with everything that contradicts it."""
    problems = list(problems)
    asked.append(what)
    if problems:
        failures.append(what)
        print(f"FAILED terraform: {what}")
        for problem in problems:
            print(f"  {problem}")
    else:
        print(f"ok terraform: {what}")
