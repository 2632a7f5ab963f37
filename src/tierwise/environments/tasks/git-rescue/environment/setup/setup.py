from data import commit, git, new

new()
commit("Begin", README__md="a project\n")
git("checkout", "-q", "-b", "experiment")
commit("Add a sampler", 2, sampler__txt="temperature 1.0\n")
commit("Tune the sampler", 3, sampler__txt="temperature 0.7\ntop_p 0.95\n")
git("checkout", "-q", "main")
commit("Describe it", 4, README__md="a project\nwith a sampler\n")
git("branch", "-q", "-D", "experiment")
git("reflog", "expire", "--expire=now", "--all")
