#!/bin/bash
set -euo pipefail
cat > /app/backup.sh <<'END'
#!/bin/bash
# Copies what changed below SOURCE to TARGET, and prints how many files those were.
set -e
source=$1
target=$2
count=0
while IFS= read -r -d '' path; do
  name=${path#"$source"/}
  copy=$target/$name
  if ! cmp -s -- "$path" "$copy"; then
    mkdir -p -- "$(dirname -- "$copy")"
    cp -p -- "$path" "$copy"
    count=$((count + 1))
  fi
done < <(find "$source" -type f -print0)
echo "$count"
END
