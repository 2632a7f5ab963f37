from data import commit, git, new

new()
server = "[server]\nhost = localhost\ntimeout = {}\nretries = {}\n"
commit("Begin", settings__ini=server.format(30, 3))
git("checkout", "-q", "-b", "feature")
cache = "\n[cache]\nsize = 128\nttl = 900\ncompress = yes\n"
commit("Cache", 2, settings__ini=server.format(30, 5) + cache, feature__txt="on\n")
git("checkout", "-q", "main")
cache = "\n[cache]\nsize = 256\nttl = 600\npath = /var/cache/app\n"
commit("Cache too", 3, settings__ini=server.format(60, 3) + cache)
