from data import commit, git, new

new()
script = 'test "$(sort -n numbers.txt | head -n 1)" -ge 10\n'
commit("Begin", check__sh=script, numbers__txt="10\n")
git("tag", "good")
numbers = "10\n"
for number in range(1, 41):
    numbers += "7\n" if number == 23 else f"{number * 7 + 10}\n"
    commit(f"Change {number}", 1 + number % 28, numbers__txt=numbers)
