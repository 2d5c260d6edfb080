#!/usr/bin/env bash
# A Neo4j Community server for tests, in the foreground, on loopback only.
#
#     start.sh install FOLDER                              fetch the jars, compile
#     start.sh run FOLDER PORT DATA [PASSWORD]             run until SIGTERM; prints "ready ADDRESS" when it answers
#
# Needs a JDK of 17 or later, and Maven to install. Neo4j Community is under the GPL: it is
# run beside the tests, and no part of what is built here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command=$1 folder=$2
case $command in
install)
	# The copies of the sources, written last, say that the folder is complete.
	if cmp -s "$here/pom.xml" "$folder/pom.xml" && cmp -s "$here/Server.java" "$folder/Server.java" &&
		[ -f "$(cut -d: -f1 "$folder/classpath")" ]; then exit 0; fi
	rm -rf "$folder"
	mkdir -p "$folder/classes"
	mvn -B -ntp -q -Dstyle.color=never -f "$here/pom.xml" dependency:build-classpath -Dmdep.outputFile="$folder/classpath" >&2
	javac --release 17 -cp "$(cat "$folder/classpath")" -d "$folder/classes" "$here/Server.java"
	cp "$here/pom.xml" "$here/Server.java" "$folder"
	;;
run)
	# With the first compiler only it starts in half the time.
	exec java -Xmx768m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
		-cp "$folder/classes:$(cat "$folder/classpath")" Server "$3" "$4" "${5:-}"
	;;
*)
	echo "unknown command $command; known: install, run" >&2
	exit 2
	;;
esac
