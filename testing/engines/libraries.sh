# Sourced: the engines call their helpers without our environment, and those must find their libraries without it.
tr : '\n' <<<"$LD_LIBRARY_PATH" | cat - /etc/ld.so.conf >"$DIRECTORY/libraries"
ldconfig -X -C "$DIRECTORY/ld.so.cache" -f "$DIRECTORY/libraries" 2>"$DIRECTORY/ldconfig.log"
mount --bind "$DIRECTORY/ld.so.cache" /etc/ld.so.cache
