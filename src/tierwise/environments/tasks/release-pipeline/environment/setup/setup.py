from data import GREET, REPO, TESTS, commit, git, new

new()
commit("Begin", greet__py=GREET, test_greet__py=TESTS, VERSION="1.4.2\n", __gitignore="dist/\n__pycache__/\n")
changes = "# Changes\n\n## {}- Greet several people\n- Say farewell\n\n## 1.4.2\n\n- Greet politely\n"
commit("Keep a changelog", 2, CHANGELOG__md=changes.format("Unreleased\n\n"), RELEASING__md="""# How to release

1. The tests must pass.
2. Write the new version to `VERSION`, and make the section `Unreleased` of `CHANGELOG.md` the section of the version (`## X.Y.Z`).
3. Commit just these two files, with the message `Release X.Y.Z`, and tag that commit `vX.Y.Z` (annotated, the same message).
4. Pack what the tag has, and nothing else, as `dist/greet-X.Y.Z.tar.gz`, below a folder `greet-X.Y.Z/`.
5. Write the archive's checksum to `dist/SHA256SUMS`, as `sha256sum` does in `dist`.
""")
