from data import commit, git, new

new()
for number in (1, 2, 3):
    commit(f"Version {number}", number, version__txt=f"{number}\n")
    if number == 2:
        git("tag", "v1.0")
