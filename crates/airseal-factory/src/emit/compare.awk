# Compares a summary of espefuse with what is expected: awk -v until=burn -f compare.awk expect-efuse.txt summary.json
# A line of expect-efuse.txt: field, bits in hex, word shown, readable, writeable, call that burns it; - is anything.
# until=blank: keys and switches are still as their maker left them. until=burn: all but what the lock burns.
FNR == NR { order[++count] = $1; want[count] = $0; next }
/^    "[A-Z0-9_]+": *\{/ { split($0, part, "\""); name = part[2]; seen[name] = 1 }
/^        "raw_value":/ {
    split($0, part, "\"")
    bits[name] = part[4]
    sub(/^0x0*/, "", bits[name])
    if (bits[name] == "") bits[name] = "0"
}
/^        "value": *"/ { split($0, part, "\""); shown[name] = part[4] }
/^        "readable": *true/ { readable[name] = "yes" }
/^        "readable": *false/ { readable[name] = "no" }
/^        "writeable": *true/ { writeable[name] = "yes" }
/^        "writeable": *false/ { writeable[name] = "no" }
function differs(field, what, found, wanted) {
    if (wanted == "-" || found == wanted) return
    print field ": " what " " found ", not " wanted
    bad = 1
}
END {
    for (i = 1; i <= count; i++) {
        split(want[i], w, " ")
        field = w[1]
        if (!(field in seen)) {
            print field ": is not in the summary"
            bad = 1
        } else if (until == "blank") {
            continue
        } else if (w[6] != "lock" || until == "lock") {
            differs(field, "is", bits[field], w[2])
            differs(field, "shows", shown[field], w[3])
            differs(field, "readable", readable[field], w[4])
            differs(field, "writeable", writeable[field], w[5])
        }
    }
    # Also what the plan leaves alone: somebody else's digest in another block is trusted as much as ours.
    if (until == "blank") for (field in seen) {
        if (field ~ /^(BLOCK_KEY[0-9]|BLOCK[12]$|KEY_PURPOSE|ABS_DONE|SECURE_BOOT_EN|SECURE_VERSION)/ || field ~ /CRYPT_CNT$/) {
            differs(field, "is", bits[field], "0")
            differs(field, "readable", readable[field], "yes")
            differs(field, "writeable", writeable[field], "yes")
        }
    }
    exit bad
}
