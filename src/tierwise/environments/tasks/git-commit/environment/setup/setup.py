from data import REPO, commit, new

new()
commit("Begin", list__txt="one\n")
(REPO / "list.txt").write_text("one\ntwo\n")
(REPO / "notes.txt").write_text("remember the milk\n")
